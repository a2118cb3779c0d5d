(function () {
  "use strict";
  document.querySelectorAll("[data-copy]").forEach(function (button) {
    button.hidden = false;
    button.addEventListener("click", function () {
      var text = document.getElementById(button.dataset.copy).textContent;
      var done = function () { button.textContent = "Copied"; };
      if (navigator.clipboard && window.isSecureContext) { navigator.clipboard.writeText(text).then(done); return; }
      var area = document.createElement("textarea");
      area.value = text; document.body.appendChild(area); area.select();
      document.execCommand("copy"); area.remove(); done();
    });
  });
  if (!window.Chart) { return; }
  var data = JSON.parse(document.getElementById("charts").textContent);
  var css = getComputedStyle(document.documentElement);
  var color = function (name) { return css.getPropertyValue(name).trim(); };
  Chart.defaults.color = color("--soft");
  Chart.defaults.borderColor = color("--line");
  Chart.defaults.font.family = "system-ui, 'DejaVu Sans', sans-serif";
  Chart.defaults.maintainAspectRatio = false;
  Chart.defaults.animation = false;
  Chart.defaults.plugins.legend.labels.boxWidth = 12;
  var draw = function (id, config) { var at = document.getElementById(id); if (at) { new Chart(at, config); } };
  var pick = function (rows, key, scale) { return rows.map(function (row) { return (row[key] || 0) / (scale || 1); }); };
  var bars = function (label, values, tint) { return { label: label, data: values, backgroundColor: tint, borderRadius: 3 }; };
  var t = data.timeline, times = t.map(function (row) { return row.start.slice(5, 16).replace("T", " "); });
  var stacked = { scales: { x: { stacked: true, ticks: { maxTicksLimit: 6, maxRotation: 0 } }, y: { stacked: true, beginAtZero: true } } };
  var healthy = t.map(function (row) { return row.traces - row.affected_traces; });
  draw("c-traffic", { type: "bar", data: { labels: times, datasets: [bars("affected", pick(t, "affected_traces"), color("--high")), bars("others", healthy, color("--bar"))] }, options: stacked });
  draw("c-tokens", { type: "bar", data: { labels: times, datasets: [bars("input tokens", pick(t, "input_tokens"), color("--bar")), bars("output tokens", pick(t, "output_tokens"), color("--accent"))] }, options: stacked });
  var wide = { indexAxis: "y", scales: { x: { beginAtZero: true } } };
  var names = function (rows) { return rows.map(function (row) { return row.name.length > 18 ? row.name.slice(0, 17) + "…" : row.name; }); };
  draw("c-errors", { type: "bar", data: { labels: names(data.agents), datasets: [bars("traces", pick(data.agents, "traces"), color("--bar")), bars("with errors", pick(data.agents, "error_traces"), color("--critical"))] }, options: wide });
  draw("c-latency", { type: "bar", data: { labels: names(data.agents), datasets: [bars("median, s", pick(data.agents, "duration_p50_ns", 1e9), color("--bar")), bars("95 %, s", pick(data.agents, "duration_p95_ns", 1e9), color("--accent"))] }, options: wide });
  draw("c-cost", { type: "bar", data: { labels: names(data.models), datasets: [bars("cost, $", pick(data.models, "cost_usd"), color("--accent"))] }, options: wide });
  draw("c-model-latency", { type: "bar", data: { labels: names(data.models), datasets: [bars("median, s", pick(data.models, "duration_p50_ns", 1e9), color("--bar")), bars("95 %, s", pick(data.models, "duration_p95_ns", 1e9), color("--accent"))] }, options: wide });
})();
