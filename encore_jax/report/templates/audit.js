"use strict";
// Sorts, filters and shows the comparisons of the page's JSON. The state is in the address (#sort=margin&down=1&...),
// so that a view can be linked. Text reaches the page as text only, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const HEIGHT = 26, SPARE = 8, WAIT = 120;
const count = data.id.length, rules = data.rules.length;
const sum = values => values.reduce((total, value) => total + value, 0);
const margin = data.contributions.map(sum);
const scale = largest(data.contributions);
const by = id => document.getElementById(id);
const state = { sort: "number", down: false, search: "", subset: "", outcome: "", flip: "", open: -1 };
let order = [];

function largest(rows) {
  let most = 1e-12;
  for (const row of rows) for (const value of row) most = Math.max(most, Math.abs(value));
  return most;
}

// Decided where the numbers are exact; those of the page have six digits.
function outcome(i) { return ["wrong", "tie", "right"][data.outcome[i] + 1]; }

function turns(i, k) { return data.turns[i].includes(k); }

function keyOf(sort) {
  if (sort === "margin") return i => margin[i];
  if (sort === "size") return i => Math.abs(margin[i]);
  if (sort === "subset") return i => data.subset[i];
  if (sort === "prompt") return i => data.prompt[i];
  if (sort.startsWith("rule")) { const k = Number(sort.slice(4)); return i => data.contributions[i][k]; }
  return i => i;
}

function arrange() {
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
  by("space").style.height = `${order.length * HEIGHT}px`;
  by("shown").textContent = `${order.length} of ${count}`;
  by("list").scrollTop = 0;
  head();
  rows();
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const columns = `4.5rem 9rem 4rem 5.5rem repeat(${rules}, ${rules > 24 ? 14 : 30}px) minmax(16rem, 1fr)`;

function head() {
  const bar = by("head");
  bar.style.gridTemplateColumns = columns;
  bar.replaceChildren();
  const names = [["number", "#", "number"], ["subset", "subset", ""], ["size", "outcome", ""], ["margin", "margin", "number"]];
  for (let k = 0; k < rules; k++) names.push([`rule${k}`, String(k + 1), "cell"]);
  names.push(["prompt", "prompt", ""]);
  for (const [sort, text, className] of names) {
    const mark = state.sort === sort ? (state.down ? " ↓" : " ↑") : "";
    const button = element("button", className, rules > 24 && className === "cell" ? mark || "·" : text + mark);
    button.dataset.sort = sort;
    if (sort === "size") button.title = "sorts by the size of the margin";
    if (className === "cell") button.title = data.rules[Number(sort.slice(4))];
    button.onclick = () => { state.down = state.sort === sort ? !state.down : true; state.sort = sort; changed(); };
    bar.append(button);
  }
}

function colour(value) {
  const strength = Math.min(1, Math.sqrt(Math.abs(value) / scale));
  return value > 0 ? `rgba(10, 90, 140, ${strength})` : `rgba(200, 85, 0, ${strength})`;
}

function row(i, place) {
  const line = element("div", i === state.open ? "row open" : "row");
  line.style.gridTemplateColumns = columns;
  line.style.transform = `translateY(${place * HEIGHT}px)`;
  line.dataset.number = i;
  const kind = outcome(i);
  line.append(element("span", "number", String(i + 1)), element("span", "", data.subsets[data.subset[i]]));
  line.append(element("span", kind === "wrong" ? "wrong" : "", kind), element("span", "number", margin[i].toFixed(4)));
  data.contributions[i].forEach((value, k) => {
    const cell = element("span", "cell");
    cell.style.background = colour(value);
    cell.title = `${data.rules[k]}: ${value.toFixed(4)}`;
    line.append(cell);
  });
  line.append(element("span", "", data.prompt[i].slice(0, 160)));
  line.onclick = () => { state.open = i; changed(false); };
  return line;
}

function rows() {
  const list = by("list"), first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - SPARE);
  const last = Math.min(order.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + SPARE);
  by("space").replaceChildren(...order.slice(first, last).map((i, n) => row(i, first + n)));
}

function detail() {
  const i = state.open, place = by("detail");
  if (!(i >= 0 && i < count)) return;
  place.replaceChildren(element("b", "", `${i + 1}. ${data.id[i]}`), element("div", "text", data.prompt[i]));
  const pair = element("div", "pair");
  ["preferred", "other"].forEach((which, side) => {
    const half = element("div");
    const reward = sum(data.scores[i][side].map((score, k) => score * data.weights[k]));
    half.append(element("b", "", `${which}: reward ${reward.toFixed(4)}`), element("div", "text", data.texts[i][side]));
    pair.append(half);
  });
  const table = element("table"), top = element("tr");
  for (const name of ["rule", "weight", "preferred", "other", "contribution", "", "turns"]) top.append(element("th", "", name));
  table.append(top);
  const sorted = data.contributions[i].map((value, k) => [value, k]).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]));
  const most = Math.max(Math.abs(sorted[0][0]), 1e-12);
  for (const [value, k] of sorted) {
    const line = element("tr"), bar = element("span", "bar"), fill = element("i"), cell = element("td");
    fill.style.background = colour(value > 0 ? scale : -scale);
    fill.style.width = `${50 * Math.abs(value) / most}%`;
    fill.style[value > 0 ? "left" : "right"] = "50%";
    bar.append(fill);
    cell.append(bar);
    line.append(element("td", "name", data.rules[k]));
    for (const number of [data.weights[k], data.scores[i][0][k], data.scores[i][1][k], value]) line.append(element("td", "", number.toFixed(4)));
    line.append(cell, element("td", "", turns(i, k) ? "yes" : ""));
    table.append(line);
  }
  const total = element("tr", "strong");
  total.append(element("td", "name", "margin"), element("td"), element("td"), element("td"), element("td", "", margin[i].toFixed(4)), element("td"), element("td"));
  table.append(total);
  place.append(pair, table);
}

function changed(again = true) {
  const kept = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) if (value !== "" && value !== false && value !== -1) kept.set(name, value);
  history.replaceState(null, "", `#${kept}`);
  if (again) arrange(); else rows();
  detail();
}

function restore() {
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const name of ["sort", "search", "subset", "outcome", "flip"]) if (kept.has(name)) state[name] = kept.get(name);
  state.down = kept.get("down") === "true";
  state.open = kept.has("open") ? Number(kept.get("open")) : -1;
  for (const name of ["search", "subset", "outcome", "flip"]) by(name).value = state[name];
}

function option(name, value, text) {
  const made = element("option", "", text);
  made.value = value;
  by(name).append(made);
}

data.subsets.forEach((name, s) => option("subset", s, name || "(none)"));
data.rules.forEach((name, k) => option("flip", k, `${k + 1} ${name}`));
for (const name of ["subset", "outcome", "flip"]) by(name).onchange = () => { state[name] = by(name).value; changed(); };
let waiting = 0;
by("search").oninput = () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { state.search = by("search").value; changed(); }, WAIT);
};
let drawn = false;
by("list").onscroll = () => {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => { drawn = false; rows(); });
};
window.onresize = rows;
restore();
arrange();
detail();
