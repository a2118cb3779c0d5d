(function () {
  "use strict";
  var all = function (selector, within) { return Array.prototype.slice.call((within || document).querySelectorAll(selector)); };

  // Times: in the viewer's zone, or as how long ago; UTC is in the title.
  var two = function (number) { return (number < 10 ? "0" : "") + number; };
  var local = function (at) {
    return at.getFullYear() + "-" + two(at.getMonth() + 1) + "-" + two(at.getDate()) + " " + two(at.getHours()) + ":" + two(at.getMinutes());
  };
  var ago = function (seconds) {
    var units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    for (var i = 0; i < units.length; i++) {
      if (Math.abs(seconds) >= units[i][0]) {
        var number = Math.floor(Math.abs(seconds) / units[i][0]) + " " + units[i][1];
        return seconds < 0 ? "in " + number : number + " ago";
      }
    }
    return "now";
  };
  var tell = function (within) {
    all("time[datetime]", within).forEach(function (tag) {
      var at = new Date(tag.getAttribute("datetime"));
      if (isNaN(at)) { return; }
      tag.textContent = tag.hasAttribute("data-relative") ? ago((Date.now() - at) / 1000) : local(at);
    });
  };
  tell();
  // A filter that is chosen applies at once; its button is for those without a script.
  all("[data-submit]").forEach(function (field) { field.addEventListener("change", function () { field.form.requestSubmit(); }); });
  all("form[method=get]").forEach(function (form) {
    form.addEventListener("submit", function () { all("input,select", form).forEach(function (field) { field.disabled = !field.value; }); });
  });
  window.addEventListener("pageshow", function () { all("form[method=get] :disabled").forEach(function (field) { field.disabled = false; }); });

  // What a person calls themselves is kept in this browser.
  all("[data-keep]").forEach(function (field) {
    try {
      field.value = field.value || localStorage.getItem("halo-" + field.name) || "";
      field.addEventListener("change", function () { localStorage.setItem("halo-" + field.name, field.value); });
    } catch (error) { return; }
  });

  // Parts that are fetched: what the checks say, and how far runs are.
  var part = function (at, address) {
    return fetch(address, { credentials: "same-origin" }).then(function (answer) {
      if (!answer.ok) { throw new Error(answer.status); }
      return answer.text();
    }).then(function (html) {
      var parsed = new DOMParser().parseFromString(html, "text/html");
      at.replaceChildren.apply(at, Array.prototype.slice.call(parsed.body.childNodes));
      tell(at);
    });
  };
  all("[data-checks]").forEach(function (at) {
    if (at.querySelector(".checks")) { return; }
    at.setAttribute("aria-busy", "true");
    at.querySelector("p").textContent = "Looking …";
    part(at, "/health/checks").catch(function () { at.textContent = "The checks could not be asked for; reload the page to try again."; })
      .then(function () { at.setAttribute("aria-busy", "false"); });
  });
  all("[data-runs]").forEach(function (at) {
    var look = function () {
      if (!at.querySelector("[data-running=yes]")) { return; }
      setTimeout(function () { part(at, "/health/runs").then(look, look); }, 1000);
    };
    look();
  });

  // Keys: j and k choose a row, Enter opens it, / searches, Escape leaves, ? says so.
  var rows = all("[data-row]"), chosen = -1;
  var choose = function (number) {
    rows = all("[data-row]");
    if (!rows.length) { return; }
    if (rows[chosen]) { rows[chosen].classList.remove("chosen"); }
    chosen = Math.max(0, Math.min(rows.length - 1, number));
    rows[chosen].classList.add("chosen");
    var link = rows[chosen].querySelector("a[href]");
    if (link) { link.focus({ preventScroll: true }); }
    rows[chosen].scrollIntoView({ block: "nearest" });
  };
  var help = function () {
    var box = document.querySelector("dialog.help");
    if (!box) {
      box = document.createElement("dialog");
      box.className = "help";
      box.setAttribute("aria-label", "Keys");
      var table = document.createElement("table");
      [["j  k", "next, previous row"], ["Enter", "open it"], ["/", "search"], ["Esc", "leave, go up"], ["?", "these keys"]].forEach(function (pair) {
        var row = table.insertRow();
        pair[0].split("  ").forEach(function (key, place) {
          var cell = place ? row.cells[0] : row.insertCell();
          var tag = document.createElement("kbd");
          tag.textContent = key;
          if (place) { cell.append(" "); }
          cell.append(tag);
        });
        row.insertCell().textContent = pair[1];
      });
      box.append(table);
      document.body.append(box);
    }
    box.showModal();
  };
  document.addEventListener("keydown", function (event) {
    var at = event.target, typing = /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) || at.isContentEditable;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && at.dataset.run !== undefined) {
      event.preventDefault();
      at.form.requestSubmit(at.form.querySelector("button.main"));
      return;
    }
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (event.key === "Escape") {
      if (typing) { at.blur(); return; }
      var up = document.querySelector("[data-up]");
      if (up && !document.querySelector("dialog[open]")) { location.href = up.href; }
      return;
    }
    if (typing || document.querySelector("dialog[open]")) { return; }
    if (event.key === "j") { choose(chosen + 1); } else if (event.key === "k") { choose(chosen < 0 ? 0 : chosen - 1); }
    else if (event.key === "?") { help(); }
    else if (event.key === "/") {
      var field = document.querySelector("[data-search],[data-run]");
      if (field) { event.preventDefault(); field.focus(); if (field.select && field.type === "search") { field.select(); } }
    }
  });

  window.halo = { all: all, times: tell, part: part };
})();
