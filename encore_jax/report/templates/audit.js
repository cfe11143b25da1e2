"use strict";
// Sorts, filters and shows the comparisons of the page's JSON. The state is in the address (#sort=margin&down=true&...),
// so that a view can be linked. Text reaches the page as text only, never as markup. Only rows in view are elements: each
// is a button in a list. Beside the list, or on a narrow screen below its row, stand the details of the open comparison.
const data = JSON.parse(document.getElementById("data").textContent);
const SPARE = 8, WAIT = 120, NARROW = matchMedia("(max-width: 60rem)"), FEW_RULES = 12, MANY_RULES = 24;
const count = data.id.length, rules = data.rules.length;
const sum = values => values.reduce((total, value) => total + value, 0);
const margin = data.contributions.map(sum);
const scale = largest(data.contributions);
const by = id => document.getElementById(id);
const state = { sort: "number", down: false, search: "", subset: "", outcome: "", flip: "", open: -1 };
const filters = ["subset", "outcome", "flip"];
const boxes = new Map(); // the rows that are elements, by their place in the order
let order = [], place = 0, detailHeight = 0, detailBox = null;

function largest(rows) {
  let most = 1e-12;
  for (const row of rows) for (const value of row) most = Math.max(most, Math.abs(value));
  return most;
}

// Decided where the numbers are exact; those of the page have six digits.
function outcome(i) { return ["wrong", "tie", "right"][data.outcome[i] + 1]; }

function turns(i, k) { return data.turns[i].includes(k); }

function rowHeight() { return NARROW.matches ? 78 : 27; }

function keyOf(sort) {
  if (sort === "margin") return i => margin[i];
  if (sort === "size") return i => Math.abs(margin[i]);
  if (sort === "subset") return i => data.subset[i];
  if (sort === "prompt") return i => data.prompt[i];
  if (sort.startsWith("rule")) { const k = Number(sort.slice(4)); return i => data.contributions[i][k]; }
  return i => i;
}

function arrange(start) {
  const wanted = state.search.toLowerCase(), key = keyOf(state.sort), sign = state.down ? -1 : 1;
  order = [];
  for (let i = 0; i < count; i++) {
    if (state.subset !== "" && data.subset[i] !== Number(state.subset)) continue;
    if (state.outcome && outcome(i) !== state.outcome) continue;
    if (state.flip !== "" && !turns(i, Number(state.flip))) continue;
    if (wanted && ![data.id[i], data.prompt[i], ...data.texts[i]].some(text => text.toLowerCase().includes(wanted))) continue;
    order.push(i);
  }
  const keys = new Map(order.map(i => [i, key(i)]));
  order.sort((a, b) => {
    const x = keys.get(a), y = keys.get(b);
    return x < y ? -sign : x > y ? sign : a - b;
  });
  by("shown").textContent = `${order.length} of ${count}`;
  if (!start || state.open < 0) state.open = order.length ? order[0] : -1;
  place = Math.max(0, order.indexOf(state.open));
  head();
  boxes.clear();
  by("space").replaceChildren();
  detail();
  by("list").scrollTop = 0;
  if (start && place) reveal(place);
  rows();
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function sortBy(sort, down) {
  state.sort = sort;
  state.down = down;
  changed();
}

function sortButton(sort, text, className, label) {
  const chosen = state.sort === sort, button = element("button", className, text + (chosen ? (state.down ? " ↓" : " ↑") : ""));
  button.type = "button";
  button.dataset.sort = sort;
  button.title = label;
  button.setAttribute("aria-label", `sort by ${label}`);
  button.setAttribute("aria-pressed", chosen);
  button.onclick = () => {
    sortBy(sort, chosen ? !state.down : true);
    by("head").querySelector(`[data-sort="${sort}"]`).focus();
  };
  return button;
}

function head() {
  const strip = element("span", rules > MANY_RULES ? "strip many" : "strip");
  if (rules > FEW_RULES) strip.append(element("b", "", `rules 1 to ${rules}`));
  else data.rules.forEach((name, k) => strip.append(sortButton(`rule${k}`, String(k + 1), "", `rule ${k + 1}, ${name}`)));
  by("head").replaceChildren(
    sortButton("number", "#", "number", "number"), sortButton("subset", "subset", "", "subset"),
    sortButton("size", "outcome", "", "outcome and size of the margin"), sortButton("margin", "margin", "number", "margin"),
    strip, sortButton("prompt", "prompt", "", "prompt"));
  by("sort").value = state.sort;
  by("down").textContent = state.down ? "↓" : "↑";
  by("down").setAttribute("aria-pressed", state.down);
}

function colour(value) {
  const strength = Math.min(1, Math.sqrt(Math.abs(value) / scale));
  return value > 0 ? `rgba(20, 110, 165, ${strength})` : `rgba(215, 95, 5, ${strength})`;
}

// What every rule contributes: a cell each; of very many rules one drawing, which is as wide.
function stripOf(i) {
  const strip = element("span", "strip");
  if (rules > MANY_RULES) {
    const stops = data.contributions[i].map((value, k) => `${colour(value)} ${100 * k / rules}% ${100 * (k + 1) / rules}%`);
    strip.className = "strip many";
    strip.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
    return strip;
  }
  data.contributions[i].forEach((value, k) => {
    const cell = element("span", "cell");
    cell.style.background = colour(value);
    cell.title = `${data.rules[k]}: ${value.toFixed(4)}`;
    strip.append(cell);
  });
  return strip;
}

function item(i, at) {
  const box = element("div", "item"), line = element("button", "row"), kind = outcome(i), strip = stripOf(i);
  box.setAttribute("role", "listitem");
  box.setAttribute("aria-setsize", order.length);
  box.setAttribute("aria-posinset", at + 1);
  line.type = "button";
  line.dataset.number = i;
  line.setAttribute("aria-controls", "detail");
  strip.setAttribute("aria-hidden", "true");
  line.append(
    element("span", "number", String(i + 1)), element("span", "", data.subsets[data.subset[i]]),
    element("span", kind === "wrong" ? "wrong" : "", kind), element("span", "number", margin[i].toFixed(4)),
    strip, element("span", "prompt", data.prompt[i].slice(0, 160)));
  line.onclick = () => { place = at; open(i); };
  box.append(line);
  return box;
}

// The places in view: of the list's own box, or of the window where the list has none.
function inView() {
  const top = by("space").getBoundingClientRect().top, box = by("list").getBoundingClientRect(), height = rowHeight();
  const from = NARROW.matches ? 0 : Math.max(0, box.top), to = NARROW.matches ? innerHeight : box.bottom;
  const extra = NARROW.matches ? detailHeight : 0;
  return [Math.max(0, Math.floor((from - top - extra) / height) - SPARE), Math.min(order.length, Math.ceil((to - top) / height) + SPARE)];
}

function rows() {
  const [first, last] = inView(), opened = order.indexOf(state.open);
  const wanted = new Set();
  for (let at = first; at < last; at++) wanted.add(at);
  if (boxes.has(place) && boxes.get(place).contains(document.activeElement)) wanted.add(place);
  if (NARROW.matches && opened >= 0) wanted.add(opened);
  if (order.length && !wanted.has(place)) wanted.add(place); // what Tab goes to
  for (const [at, box] of boxes) if (!wanted.has(at)) { box.remove(); boxes.delete(at); }
  let next = null;
  for (const at of [...wanted].sort((a, b) => b - a)) {
    if (!boxes.has(at)) boxes.set(at, item(order[at], at));
    const box = boxes.get(at), line = box.firstChild, isOpen = at === opened;
    if (box.parentNode !== by("space") || box.nextSibling !== next) by("space").insertBefore(box, next);
    next = box;
    box.style.transform = `translateY(${at * rowHeight() + (NARROW.matches && opened >= 0 && at > opened ? detailHeight : 0)}px)`;
    line.tabIndex = at === place ? 0 : -1;
    line.setAttribute("aria-expanded", isOpen);
    if (NARROW.matches && isOpen && detailBox && detailBox.parentNode !== box) box.append(detailBox);
  }
  by("space").style.height = `${order.length * rowHeight() + (NARROW.matches && opened >= 0 ? detailHeight : 0)}px`;
}

function focusRow() {
  const line = by("space").querySelector(`[data-number="${order[place]}"]`);
  if (line) line.focus({ preventScroll: true });
}

// Scrolls so that the row at this place is seen whole.
function reveal(at) {
  const list = by("list"), height = rowHeight();
  if (NARROW.matches) {
    const below = state.open >= 0 && at > order.indexOf(state.open) ? detailHeight : 0;
    const top = by("space").getBoundingClientRect().top + at * height + below;
    if (top < 0) scrollBy(0, top); else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
  } else if (at * height < list.scrollTop) list.scrollTop = at * height;
  else if ((at + 1) * height > list.scrollTop + list.clientHeight) list.scrollTop = (at + 1) * height - list.clientHeight;
}

function move(at) {
  if (!order.length) return;
  place = Math.min(order.length - 1, Math.max(0, at));
  reveal(place);
  rows();
  focusRow();
  document.activeElement.scrollIntoView({ block: "nearest" });
}

// Opens a comparison, or closes the open one; the focus stays on its row.
function open(i) {
  const top = NARROW.matches ? rowTop(i) : 0;
  state.open = i === state.open && NARROW.matches ? -1 : i;
  keep();
  detail();
  rows();
  focusRow();
  if (NARROW.matches) scrollBy(0, rowTop(i) - top); // the row stays where it was tapped
  announce();
}

function rowTop(i) {
  const line = by("space").querySelector(`[data-number="${i}"]`);
  return line ? line.getBoundingClientRect().top : 0;
}

function close() {
  if (state.open < 0) return;
  place = Math.max(0, order.indexOf(state.open));
  state.open = -1;
  keep();
  detail();
  reveal(place);
  rows();
  focusRow();
  announce();
}

function keep() {
  const kept = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) if (value !== "" && value !== false && value !== -1) kept.set(name, value);
  history.replaceState(null, "", `#${kept}`);
}

function changed() {
  arrange(false);
  keep();
}

function restore() {
  const kept = new URLSearchParams(location.hash.slice(1)), number = Number(kept.get("open"));
  for (const name of ["search", ...filters]) {
    if (kept.has(name)) by(name).value = kept.get(name);
    state[name] = by(name).value;
  }
  if (kept.has("sort")) by("sort").value = kept.get("sort");
  state.sort = by("sort").value || "number";
  state.down = kept.get("down") === "true";
  state.open = kept.has("open") && Number.isInteger(number) && number >= 0 && number < count ? number : -1;
}

function option(name, value, text) {
  const made = element("option", "", text);
  made.value = value;
  by(name).append(made);
}

const KEYS = {
  ArrowDown: () => move(place + 1), ArrowUp: () => move(place - 1), Home: () => move(0), End: () => move(order.length - 1),
  PageDown: () => move(place + page()), PageUp: () => move(place - page()),
};

function page() { return Math.max(1, Math.floor((NARROW.matches ? innerHeight : by("list").clientHeight) / rowHeight()) - 1); }

document.querySelector(".panes").onkeydown = event => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Escape") { close(); event.preventDefault(); return; }
  if (event.target.classList.contains("row") && KEYS[event.key]) { KEYS[event.key](); event.preventDefault(); }
};

for (const [value, text] of [["number", "number"], ["margin", "margin"], ["size", "size of the margin"], ["subset", "subset"], ["prompt", "prompt"]]) option("sort", value, text);
data.rules.forEach((name, k) => option("sort", `rule${k}`, `rule ${k + 1}, ${name}`));
data.subsets.forEach((name, s) => option("subset", s, name || "(none)"));
data.rules.forEach((name, k) => option("flip", k, `${k + 1} ${name}`));
for (const name of filters) by(name).onchange = () => { state[name] = by(name).value; changed(); };
by("sort").onchange = () => sortBy(by("sort").value, state.down);
by("down").onclick = () => sortBy(state.sort, !state.down);
let waiting = 0;
by("search").oninput = () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { state.search = by("search").value; changed(); }, WAIT);
};
let drawn = false;
function scrolled() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => { drawn = false; rows(); });
}
function layOut() {
  boxes.clear();
  by("space").replaceChildren();
  document.documentElement.style.setProperty("--row", `${rowHeight()}px`);
  document.documentElement.style.setProperty("--strip", `${Math.min(340, Math.max(120, 28 * rules))}px`);
  detail();
  rows();
}
by("list").onscroll = scrolled;
addEventListener("scroll", scrolled, { passive: true });
addEventListener("resize", () => { if (detailBox && NARROW.matches) measure(); scrolled(); });
NARROW.addEventListener("change", layOut);
restore();
layOut();
arrange(true);
