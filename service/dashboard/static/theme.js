// Runs before anything is painted: the colours that this browser was told to use, else the system's.
try {
  const theme = localStorage.getItem("ranksearch.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off: the system's colours.
}
