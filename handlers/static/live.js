// Keeps the overview up to date: the server sends its live part whenever there is something new.

const part = document.getElementById("live");
const state = document.querySelector("[data-live-state]");

function draw(html) {
  const open = new Set([...part.querySelectorAll("details[open][data-keep]")].map((each) => each.dataset.keep));
  const before = new Map([...part.querySelectorAll("[data-tile]")].map((tile) => [tile.dataset.tile, tile.textContent]));
  const focused = part.contains(document.activeElement) ? place(document.activeElement) : null;
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  for (const details of fresh.content.querySelectorAll("details[data-keep]")) {
    details.open = open.has(details.dataset.keep);
  }
  for (const tile of fresh.content.querySelectorAll("[data-tile]")) {
    if (before.has(tile.dataset.tile) && before.get(tile.dataset.tile) !== tile.textContent) {
      tile.classList.add("changed");
    }
  }
  part.replaceChildren(fresh.content);
  if (focused !== null) {
    part.querySelectorAll("a, summary, [tabindex]")[focused]?.focus({ preventScroll: true });
  }
}

// Which of the part's own stops for the keyboard has the focus.
function place(element) {
  const at = [...part.querySelectorAll("a, summary, [tabindex]")].indexOf(element);
  return at < 0 ? null : at;
}

function listen() {
  const source = new EventSource(part.dataset.events);
  source.addEventListener("picture", (event) => {
    draw(JSON.parse(event.data));
    state.textContent = "";
    part.dataset.isLive = "yes";
  });
  source.addEventListener("error", () => {
    delete part.dataset.isLive;
    state.textContent = "Not live at the moment. Reload the page to see what is new.";
  });
  return source;
}

let source = listen();
// A page that nobody looks at need not be told.
document.addEventListener("visibilitychange", () => {
  source.close();
  if (document.visibilityState === "visible") {
    source = listen();
  }
});
