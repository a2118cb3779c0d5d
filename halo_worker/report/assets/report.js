(function () {
  "use strict";
  var all = function (selector, within) { return Array.prototype.slice.call((within || document).querySelectorAll(selector)); };

  all("[data-copy]").forEach(function (button) {
    var says = button.textContent;
    button.hidden = false;
    button.addEventListener("click", function () {
      var text = document.getElementById(button.dataset.copy).textContent;
      var done = function () { button.textContent = "Copied"; setTimeout(function () { button.textContent = says; }, 2000); };
      var byHand = function () {
        var area = document.createElement("textarea");
        area.value = text; document.body.appendChild(area); area.select();
        document.execCommand("copy"); area.remove(); done();
      };
      if (navigator.clipboard && window.isSecureContext) { navigator.clipboard.writeText(text).then(done, byHand); } else { byHand(); }
    });
  });

  // A link to a folded finding opens it.
  var reveal = function () {
    var at = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (at && at.tagName === "DETAILS" && !at.open) { at.open = true; at.scrollIntoView(); }
  };
  window.addEventListener("hashchange", reveal);
  reveal();

  all("[data-filter]").forEach(function (tools) {
    tools.hidden = false;
    var field = tools.querySelector("input"), count = tools.querySelector("[data-count]"), fold = tools.querySelector("[data-fold]");
    var rows = all(".summary-row", tools.parentNode).map(function (row) {
      var card = row.dataset.of ? document.getElementById(row.dataset.of) : null;
      return { row: row, card: card, text: (row.textContent + " " + (card ? card.querySelector("summary").textContent + card.querySelector(".lead").textContent : "")).toLowerCase() };
    });
    field.addEventListener("input", function () {
      var words = field.value.toLowerCase().split(/\s+/), seen = 0;
      rows.forEach(function (item) {
        var fits = words.every(function (word) { return item.text.indexOf(word) >= 0; });
        item.row.hidden = !fits; if (item.card) { item.card.hidden = !fits; }
        seen += fits ? 1 : 0;
      });
      count.textContent = seen === rows.length ? "" : seen + " of " + rows.length;
    });
    if (fold) {
      fold.addEventListener("click", function () {
        var open = fold.textContent === "Open all";
        all("details.finding").forEach(function (card) { card.open = open; });
        fold.textContent = open ? "Fold all" : "Open all";
      });
    }
  });
})();
