"use strict";
const watchers = [];  // called when the theme changes
(() => {
  const root = document.documentElement;

  // the theme: as the system, light, dark, and again
  const themes = ["", "light", "dark"];
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "") + 1) % 3];
    if (next) root.dataset.theme = next; else delete root.dataset.theme;
    button.textContent = "Theme: " + (next || "system");
    watchers.forEach(draw => draw());
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => watchers.forEach(draw => draw()));
})();

