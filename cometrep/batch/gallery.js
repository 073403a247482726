"use strict";
const links = [...document.querySelectorAll("figure > a")];
const dialog = document.querySelector("dialog");
const image = dialog.querySelector("img");
const back = dialog.querySelector(".back"), on = dialog.querySelector(".on");
let shown = -1;

function show(index) {
  const link = links[index];
  if (!link) return;
  shown = index;
  image.src = image.parentElement.href = link.href;
  image.alt = link.firstElementChild.alt;
  const caption = link.parentElement.querySelector("figcaption").cloneNode(true);
  const details = caption.querySelector("details");
  details.remove();
  caption.append(details.querySelector("dl"));
  dialog.querySelector(".caption").replaceChildren(...caption.childNodes);
  dialog.querySelector(".place").textContent = `${index + 1} of ${links.length}`;
  dialog.querySelector(".about").scrollTop = 0;
  back.disabled = index === 0;
  on.disabled = index === links.length - 1;
  const isOpening = !dialog.open;
  if (isOpening) dialog.showModal();
  if (isOpening || !dialog.contains(document.activeElement)) dialog.querySelector(".close").focus();
}

// The picture above or below: the nearest by its middle, in the next row that there is.
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

// The first picture of which more than half can be seen; by its tile, which is laid out where it is not drawn, too.
function inView() {
  return links.findIndex((link) => {
    const tile = link.parentElement.getBoundingClientRect();
    return tile.top + tile.width / 2 > 0;
  });
}

document.querySelector("main").addEventListener("click", (event) => {
  const link = event.target.closest("figure > a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button) return;
  event.preventDefault();
  show(links.indexOf(link));
});

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const held = document.activeElement?.closest("figure")?.firstElementChild;
  const index = dialog.open ? shown : links.indexOf(held);
  const next = {
    ArrowLeft: () => index < 0 ? inView() : index - 1,
    ArrowRight: () => index < 0 ? inView() : index + 1,
    Home: () => 0,
    End: () => links.length - 1,
    ArrowUp: () => beside(index, -1),
    ArrowDown: () => beside(index, 1),
  }[event.key];
  const isUpright = event.key === "ArrowUp" || event.key === "ArrowDown";
  const isSideways = event.key === "ArrowLeft" || event.key === "ArrowRight";
  if (!next || (dialog.open ? isUpright : index < 0 && !isSideways)) return;  // the others scroll
  const place = next();
  if (!links[place]) return;
  event.preventDefault();
  if (dialog.open) show(place);
  else links[place].focus();
});

back.addEventListener("click", () => show(shown - 1));
on.addEventListener("click", () => show(shown + 1));
dialog.addEventListener("close", () => links[shown]?.focus());

let start = null;  // of a finger's way; not of two, which enlarge
dialog.addEventListener("touchstart", (event) => {
  start = event.touches.length === 1 && (window.visualViewport?.scale ?? 1) < 1.05 ? event.touches[0] : null;
}, { passive: true });
dialog.addEventListener("touchcancel", () => { start = null; });
dialog.addEventListener("touchend", (event) => {
  if (!start) return;
  const end = event.changedTouches[0];
  const across = end.clientX - start.clientX, down = end.clientY - start.clientY;
  start = null;
  if (Math.abs(across) > 50 && Math.abs(across) > 2 * Math.abs(down)) show(shown + (across < 0 ? 1 : -1));
});
