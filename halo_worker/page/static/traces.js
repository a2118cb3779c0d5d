(function () {
  "use strict";
  var button = document.getElementById("live"), body = document.getElementById("rows"), state = document.getElementById("live-state");
  if (!button || !body || !window.EventSource) { return; }
  var MAX_ROWS = 300, missed = 0, flowing = false, source = null, held = {};

  var rows = function () { return Array.prototype.slice.call(body.children); };
  // Starts are nanoseconds, more than a number holds: as texts of equal length they compare alike.
  var later = function (a, b) { return a.length !== b.length ? a.length > b.length : a > b; };
  var put = function (item) {
    var box = document.createElement("template");
    box.innerHTML = item.html;
    var row = box.content.querySelector("tr");
    if (!row) { return; }
    var known = rows().filter(function (one) { return one.dataset.id === item.id; })[0];
    if (known) {
      if (+known.dataset.spans > +item.spans) { return; } // what is stored may know more of it
      known.replaceWith(row);
    } else {
      var next = rows().filter(function (one) { return one.dataset.start && !later(one.dataset.start, item.start); })[0];
      body.insertBefore(row, next || null);
      row.classList.add("fresh");
    }
    window.halo.times(row);
  };
  var show = function (items) {
    items.forEach(put);
    rows().slice(MAX_ROWS).forEach(function (row) { row.remove(); });
    if (items.length) { body.parentNode.classList.remove("t-none"); window.halo.all(".empty").forEach(function (one) { one.remove(); }); }
  };
  var say = function (text) { state.textContent = text + (missed ? (text ? " · " : "") + missed + " spans or traces not shown: more come than can be" : ""); };
  var paused = function () { return button.getAttribute("aria-pressed") === "false"; };
  // While nothing comes there is nothing to pause; what was held back can still be shown.
  var live = function (is) { flowing = is; button.hidden = !is && !paused(); };
  var now = function () { var count = Object.keys(held).length; return paused() ? "Paused" + (count ? "; " + count + " changed" : "") : "Live"; };
  var open = function () {
    source = new EventSource(button.dataset.live);
    source.onerror = function () { live(false); say("The page does not answer; trying again"); };
    source.addEventListener("state", function (event) { var text = JSON.parse(event.data).text; live(!text); say(text ? "Not live: " + text : now()); });
    source.addEventListener("traces", function (event) {
      var news = JSON.parse(event.data);
      missed += news.missed;
      live(true);
      if (!paused()) { show(news.rows); say("Live"); return; }
      news.rows.forEach(function (row) { held[row.id] = row; });
      say(now());
    });
  };
  button.addEventListener("click", function () {
    var stop = !paused();
    button.setAttribute("aria-pressed", stop ? "false" : "true");
    button.textContent = stop ? "Go on" : "Pause";
    if (!stop) { show(Object.keys(held).map(function (id) { return held[id]; })); held = {}; }
    live(flowing);
    say(now());
  });
  open();
  window.addEventListener("pagehide", function () { if (source) { source.close(); } });
})();
