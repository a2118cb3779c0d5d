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

  if (!window.Chart) { return; }
  var data = JSON.parse(document.getElementById("charts").textContent);
  var charts = [];
  var draw = function () {
    var css = getComputedStyle(document.documentElement);
    var color = function (name) { return css.getPropertyValue(name).trim(); };
    var soft = color("--soft"), line = color("--line"), bar = color("--bar"), accent = color("--accent"), high = color("--high"), critical = color("--critical");
    charts.forEach(function (chart) { chart.destroy(); });
    charts = [];
    Chart.defaults.color = soft;
    Chart.defaults.borderColor = line;
    Chart.defaults.font.family = "system-ui, 'DejaVu Sans', sans-serif";
    Chart.defaults.font.size = 11;
    Chart.defaults.maintainAspectRatio = false;
    Chart.defaults.animation = false;
    Chart.defaults.plugins.legend.labels.boxWidth = 10;
    Chart.defaults.plugins.legend.labels.boxHeight = 10;
    var make = function (id, labels, datasets, options) {
      var at = document.getElementById("c-" + id);
      var any = datasets.some(function (set) { return set.data.some(function (value) { return value > 0; }); });
      if (!at) { return; }
      if (!any) { at.closest(".card").hidden = true; at.closest(".card").style.display = "none"; return; }
      options.plugins = { legend: { display: datasets.length > 1, align: "start" } };
      charts.push(new Chart(at, { type: "bar", data: { labels: labels, datasets: datasets }, options: options }));
    };
    var pick = function (rows, key, scale) { return rows.map(function (row) { return (row[key] || 0) / (scale || 1); }); };
    var bars = function (label, values, tint) { return { label: label, data: values, backgroundColor: tint, borderRadius: 2, maxBarThickness: 22 }; };
    var short = function (value) { return value >= 1e6 ? value / 1e6 + "M" : value >= 1e3 ? value / 1e3 + "k" : Math.round(value * 1e4) / 1e4; };
    var money = function (value) { return "$" + short(value); };
    var upright = function (format) { return { scales: { x: { stacked: true, grid: { display: false }, ticks: { maxTicksLimit: 5, maxRotation: 0 } }, y: { stacked: true, beginAtZero: true, ticks: { maxTicksLimit: 5, callback: format } } } }; };
    var wide = function (format, stacked) { return { indexAxis: "y", scales: { x: { stacked: !!stacked, beginAtZero: true, ticks: { maxTicksLimit: 5, callback: format } }, y: { stacked: !!stacked, grid: { display: false } } } }; };
    var t = data.timeline, days = t.length && t[0].start.slice(0, 10) !== t[t.length - 1].start.slice(0, 10);
    var times = t.map(function (row) { return days ? row.start.slice(5, 16).replace("T", " ") : row.start.slice(11, 16); });
    var names = function (rows) { return rows.map(function (row) { return row.name.length > 20 ? row.name.slice(0, 19) + "…" : row.name; }); };
    var less = function (rows, whole, part) { return rows.map(function (row) { return Math.max(0, row[whole] - row[part]); }); };
    make("traffic", times, [bars("affected", pick(t, "affected_traces"), high), bars("others", less(t, "traces", "affected_traces"), bar)], upright(short));
    make("tokens", times, [bars("input", pick(t, "input_tokens"), bar), bars("output", pick(t, "output_tokens"), accent)], upright(short));
    make("spend", times, [bars("cost", pick(t, "cost_usd"), accent)], upright(money));
    make("errors", names(data.agents), [bars("with errors", pick(data.agents, "error_traces"), critical), bars("without", less(data.agents, "traces", "error_traces"), bar)], wide(short, true));
    make("latency", names(data.agents), [bars("p50", pick(data.agents, "duration_p50_ns", 1e9), bar), bars("p95", pick(data.agents, "duration_p95_ns", 1e9), accent)], wide(short));
    make("agent-cost", names(data.agents), [bars("cost", pick(data.agents, "cost_usd"), accent)], wide(money));
    make("model-tokens", names(data.models), [bars("input", pick(data.models, "input_tokens"), bar), bars("output", pick(data.models, "output_tokens"), accent)], wide(short, true));
    make("model-latency", names(data.models), [bars("p50", pick(data.models, "duration_p50_ns", 1e9), bar), bars("p95", pick(data.models, "duration_p95_ns", 1e9), accent)], wide(short));
    make("cost", names(data.models), [bars("cost", pick(data.models, "cost_usd"), accent)], wide(money));
  };
  draw();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  // On paper the colours are those of paper, and the charts as wide as it is.
  var paper = window.matchMedia("print");
  paper.addEventListener("change", function () { draw(); });
  window.addEventListener("beforeprint", function () { charts.forEach(function (chart) { chart.resize(); }); });
})();
