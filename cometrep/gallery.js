"use strict";
const links = [...document.querySelectorAll("figure > a")];
const dialog = document.querySelector("dialog");
const image = dialog.querySelector("img");
let shown = -1;

function show(index) {
  if (index < 0 || index >= links.length) return;
  shown = index;
  const link = links[index];
  image.src = image.parentElement.href = link.href;
  image.alt = link.firstElementChild.alt;
  const caption = link.parentElement.querySelector("figcaption").cloneNode(true);
  for (const details of caption.querySelectorAll("details")) details.open = true;
  dialog.querySelector(".about").replaceChildren(...caption.childNodes);
  if (!dialog.open) dialog.showModal();
}

// The picture straight above or below: the nearest by its middle, in the next row that there is.
function beside(index, step) {
  const box = links[index].getBoundingClientRect();
  const middle = box.left + box.width / 2;
  let best = -1, row = null, distance = Infinity;
  for (let other = index + step; other >= 0 && other < links.length; other += step) {
    const its = links[other].getBoundingClientRect();
    if (step > 0 ? its.top <= box.top + 1 : its.top >= box.top - 1) continue;
    if (row !== null && Math.abs(its.top - row) > 1) break;
    row = its.top;
    const off = Math.abs(its.left + its.width / 2 - middle);
    if (off < distance) [best, distance] = [other, off];
  }
  return best;
}

document.querySelector("main").addEventListener("click", (event) => {
  const link = event.target.closest("figure > a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  show(links.indexOf(link));
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const side = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (dialog.open) {
    if (side) show(shown + side);
    return;
  }
  const index = links.indexOf(document.activeElement);
  let next;
  if (event.key === "Home" && index >= 0) next = 0;
  else if (event.key === "End" && index >= 0) next = links.length - 1;
  else if (side) next = index < 0 ? 0 : index + side;
  else if (index >= 0 && event.key === "ArrowDown") next = beside(index, 1);
  else if (index >= 0 && event.key === "ArrowUp") next = beside(index, -1);
  if (links[next] === undefined) return;
  event.preventDefault();
  links[next].focus();
});
dialog.querySelector(".back").addEventListener("click", () => show(shown - 1));
dialog.querySelector(".on").addEventListener("click", () => show(shown + 1));
dialog.addEventListener("close", () => links[shown]?.focus());
let from = null;
dialog.addEventListener("touchstart", (event) => { from = event.touches.length === 1 ? event.touches[0].clientX : null; });
dialog.addEventListener("touchend", (event) => {
  const moved = from === null ? 0 : event.changedTouches[0].clientX - from;
  if (Math.abs(moved) > 60) show(shown + (moved < 0 ? 1 : -1));
});
