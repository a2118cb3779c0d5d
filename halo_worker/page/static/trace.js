(function () {
  "use strict";
  var ROW = 28, BEYOND = 12; // pixels of a row, rows drawn beyond what is seen
  var box = document.querySelector(".w-scroll"), list = document.querySelector(".w-list"), panel = document.getElementById("panel");
  if (!box || !list || !window.fetch) { return; }
  var base = box.dataset.base, spans = null, drawn = {}, place = {}, chosen = new URLSearchParams(location.search).get("span");

  var make = function (tag, name, text) {
    var made = document.createElement(tag);
    if (name) { made.className = name; }
    if (text) { made.textContent = text; }
    return made;
  };
  var plain = function (text) { return /^[a-z]+$/.test(text) ? text : "other"; };
  var bar = function (span) {
    var svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    svg.setAttribute("class", "w-bar");
    svg.setAttribute("aria-hidden", "true");
    var given = { "class": "k-" + plain(span[2]) + (span[9] ? " failed" : ""), x: span[5] + "%", width: span[6] + "%", y: "25%", height: "50%", rx: 2 };
    Object.keys(given).forEach(function (key) { rect.setAttribute(key, given[key]); });
    svg.appendChild(rect);
    return svg;
  };
  var draw = function (at) {
    var span = spans[at], row = make("li", "w-row" + (span[0] === chosen ? " sel" : "")), link = make("a"), name = make("span", "w-name d" + span[1]);
    link.href = base + "?span=" + encodeURIComponent(span[0]);
    link.dataset.span = span[0];
    if (span[11]) { link.title = span[11]; }
    var dot = make("i", "dot k-" + plain(span[2]));
    dot.title = span[2];
    name.appendChild(dot);
    span[10].forEach(function (role) { name.appendChild(make("span", "mark " + role, role)); });
    name.appendChild(make("bdi", span[9] ? "bad" : "", span[3]));
    if (span[4]) { name.appendChild(make("small", "", span[4])); }
    [name, bar(span), make("span", "w-spent", span[8]), make("span", "w-took", span[7])].forEach(function (part) { link.appendChild(part); });
    row.appendChild(link);
    row.style.transform = "translateY(" + at * ROW + "px)";
    return row;
  };
  var asked = false;
  var show = function () {
    asked = false;
    var first = Math.max(0, Math.floor(box.scrollTop / ROW) - BEYOND), last = Math.min(spans.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + BEYOND);
    Object.keys(drawn).forEach(function (at) {
      if (at < first || at >= last) { drawn[at].remove(); delete drawn[at]; }
    });
    for (var at = first; at < last; at++) {
      if (!drawn[at]) { drawn[at] = list.appendChild(draw(at)); }
    }
  };
  var soon = function () { if (!asked) { asked = true; requestAnimationFrame(show); } };
  var begin = function (found) {
    spans = found;
    spans.forEach(function (span, at) { place[span[0]] = at; });
    list.textContent = "";
    list.classList.add("virtual");
    list.style.height = spans.length * ROW + "px";
    window.halo.all(".w-left > .w-pages").forEach(function (one) { one.remove(); });
    if (chosen in place) { box.scrollTop = Math.max(0, place[chosen] * ROW - box.clientHeight / 2); }
    box.addEventListener("scroll", soon, { passive: true });
    window.addEventListener("resize", soon);
    show();
  };
  fetch(box.dataset.source).then(function (answer) { return answer.json(); }).then(begin).catch(function () { /* the page as it came stays */ });

  var last = 0;
  var open = function (query) {
    var mine = ++last;
    return fetch(base + "/part?" + query).then(function (answer) { return answer.text(); }).then(function (html) {
      if (mine !== last) { return; }
      panel.innerHTML = html;
      panel.scrollTop = 0;
      window.halo.times(panel);
      history.replaceState(null, "", base + "?" + query);
    });
  };
  var choose = function (id) {
    chosen = id;
    window.halo.all(".w-row.sel").forEach(function (row) { row.classList.remove("sel"); });
    window.halo.all(".w-row a").forEach(function (link) { if (link.dataset.span === id) { link.parentNode.classList.add("sel"); } });
    if (spans && id in place) {
      var top = place[id] * ROW;
      if (top < box.scrollTop || top > box.scrollTop + box.clientHeight - ROW) { box.scrollTop = top - box.clientHeight / 2; }
    }
    return open("span=" + encodeURIComponent(id));
  };
  document.addEventListener("click", function (event) {
    var link = event.target.closest && event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) { return; }
    if (link.hasAttribute("data-more")) {
      event.preventDefault();
      var text = link.parentNode.previousElementSibling;
      fetch(link.href).then(function (answer) { return answer.text(); }).then(function (whole) { text.textContent = whole; link.parentNode.remove(); });
    } else if (link.dataset.span) {
      event.preventDefault();
      choose(link.dataset.span);
    } else if (link.dataset.view || link.hasAttribute("data-go")) {
      event.preventDefault();
      open(link.href.split("?")[1]);
    }
  });
  document.addEventListener("keydown", function (event) {
    if (!spans || event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) { return; }
    var step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (!step || (event.key.length > 1 && !box.contains(document.activeElement))) { return; }
    event.preventDefault();
    var next = Math.min(spans.length - 1, Math.max(0, (chosen in place ? place[chosen] : step > 0 ? -1 : 0) + step));
    choose(spans[next][0]);
  });
})();
