// Theme, the list of keys, and who gets a key. Others join in with Page.onKey(key, action).
// Page.show(element) scrolls to it.
"use strict";
const Page = (() => {
  const actions = new Map();
  const root = document.documentElement;
  const help = document.getElementById("help");
  const themeSwitch = document.querySelector("[data-theme-switch]");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const showTheme = () => {
    themeSwitch.textContent = isDark() ? "Light" : "Dark";
    themeSwitch.setAttribute("aria-pressed", String(isDark()));
  };
  const remembered = () => {
    try { return localStorage.getItem("efuf-theme"); } catch { return null; }
  };
  const switchTheme = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("efuf-theme", root.dataset.theme); } catch { /* a browser may refuse it to files */ }
    showTheme();
  };

  const isTyping = (element) => element.closest("input:not([type=radio]):not([type=range]), select, textarea, [contenteditable]") !== null;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const action = actions.get(event.key);
    if (action && action(event.key) !== false) event.preventDefault();
  });

  const stored = remembered();
  if (stored === "dark" || stored === "light") root.dataset.theme = stored;
  prefersDark.addEventListener("change", showTheme);
  themeSwitch.addEventListener("click", switchTheme);
  document.querySelector("[data-help]").addEventListener("click", () => help.showModal());
  showTheme();

  // Scroll to an element. What comes into view on the way may change its height, so look again for some frames.
  const show = (element, frames = 8) => {
    element.scrollIntoView({ block: "start", behavior: "instant" });
    if (frames > 0) requestAnimationFrame(() => show(element, frames - 1));
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    const target = link && document.getElementById(link.hash.slice(1));
    if (target) show(target);
  });

  const onKey = (key, action) => actions.set(key, action);
  onKey("?", () => help.showModal());
  onKey("d", switchTheme);
  return { onKey, show };
})();
