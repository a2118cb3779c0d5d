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
  window.halo = { all: all, times: tell };
})();
