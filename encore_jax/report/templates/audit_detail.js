// The details of the open comparison: both texts, scores and weights, and what every rule contributes.
function detailTable(i) {
  const table = element("table"), top = element("tr"), head = element("thead"), body = element("tbody");
  for (const name of ["rule", "weight", "preferred", "other", "contribution", "drawn", "turns"]) {
    const cell = element("th", name === "rule" ? "name" : "", name);
    cell.scope = "col";
    top.append(cell);
  }
  head.append(top);
  const sorted = data.contributions[i].map((value, k) => [value, k]).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]));
  const most = Math.max(Math.abs(sorted[0][0]), 1e-12);
  for (const [value, k] of sorted) {
    const line = element("tr"), bar = element("span", "bar"), fill = element("i"), cell = element("td");
    fill.style.background = colour(value > 0 ? scale : -scale);
    fill.style.width = `${50 * Math.abs(value) / most}%`;
    fill.style[value > 0 ? "left" : "right"] = "50%";
    bar.append(fill);
    cell.append(bar);
    const name = element("td", "name");
    name.append(...breakable(data.rules[k]));
    line.append(name);
    for (const number of [data.weights[k], data.scores[i][0][k], data.scores[i][1][k], value]) line.append(element("td", "", number.toFixed(4)));
    line.append(cell, element("td", "", turns(i, k) ? "yes" : ""));
    body.append(line);
  }
  const total = element("tr", "strong");
  total.append(element("td", "name", "margin"), element("td"), element("td"), element("td"), element("td", "", margin[i].toFixed(4)), element("td"), element("td"));
  body.append(total);
  table.append(head, body);
  const scroll = element("div", "scroll");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", "what every rule contributes");
  scroll.append(table);
  return scroll;
}

// A name that may break after its underscores, and not within a word.
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part) => [part, element("wbr")]);
}

function textBox(text, label) {
  const box = element("div", "text", text);
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", label);
  return box;
}

function detail() {
  const i = state.open, box = element("div", "detail");
  box.id = "detail";
  box.setAttribute("role", "group");
  if (i >= 0 && i < count) {
    box.setAttribute("aria-label", `details of comparison ${i + 1}`);
    const pair = element("div", "pair");
    ["preferred", "other"].forEach((which, side) => {
      const half = element("div"), reward = sum(data.scores[i][side].map((score, k) => score * data.weights[k]));
      half.append(element("b", "", `${which}: reward ${reward.toFixed(4)}`), textBox(data.texts[i][side], `${which} response`));
      if (data.notes.length && data.notes[i][side]) half.append(element("p", "note", data.notes[i][side]));
      pair.append(half);
    });
    box.append(element("h3", "", `${i + 1}. ${data.id[i]}`), textBox(data.prompt[i], "prompt"), pair, detailTable(i));
  } else {
    box.setAttribute("aria-label", "details");
    box.append(element("p", "soft", order.length ? "Choose a comparison: a click or Enter opens it." : "No comparison is left."));
  }
  if (detailBox) detailBox.remove();
  detailBox = i >= 0 ? box : null;
  detailHeight = 0;
  if (NARROW.matches) by("side").replaceChildren();
  else by("side").replaceChildren(box);
  if (NARROW.matches && detailBox) measure();
}

// How high the details are, which stand between rows on a narrow screen.
function measure() {
  rows();
  detailHeight = detailBox.offsetHeight;
}

function announce() {
  const i = state.open;
  if (i < 0) { by("announcement").textContent = "details closed"; return; }
  const largestFirst = data.contributions[i].map((value, k) => [value, k]).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, 3);
  const parts = largestFirst.map(([value, k]) => `${data.rules[k]} ${value.toFixed(3)}`).join(", ");
  by("announcement").textContent = `comparison ${i + 1} opened: ${outcome(i)}, margin ${margin[i].toFixed(3)}; most by ${parts}`;
}
