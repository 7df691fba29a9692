"use strict";
const tip = document.getElementById("tip");
for (const title of document.querySelectorAll("svg rect > title")) {
  title.parentNode.dataset.tip = title.textContent;
  title.remove(); // else the browser would show its own beside ours
}
function point(event) {
  const strip = event.target.closest("[data-tip]");
  tip.hidden = !strip;
  if (!strip) return;
  tip.textContent = strip.dataset.tip;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = Math.max(8, Math.min(event.clientX + 14, room)) + "px";
  tip.style.top = Math.max(8, event.clientY - tip.offsetHeight - 14) + "px";
}
document.addEventListener("pointermove", point);
document.addEventListener("pointerdown", point);
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

const theme = document.getElementById("theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
function shown() {
  return document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
}
function label() {
  theme.textContent = shown() === "dark" ? "Light" : "Dark";
  theme.setAttribute("aria-label", "Show the page in " + theme.textContent.toLowerCase() + " colours");
}
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = shown() === "dark" ? "light" : "dark";
  label();
});
dark.addEventListener("change", label);
theme.hidden = false;
label();
