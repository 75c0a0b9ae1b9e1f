// The colours, before the first paint: what was chosen last time is set on the root before anything is drawn, so that the page
// never flashes. The one script that is no module, because modules wait for the document.
(() => {
  const chosen = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
