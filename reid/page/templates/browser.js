"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const PROTOCOLS = { full: "Full", partial: "Partial" };
const state = { group: -1, query: 0, protocol: Object.keys(data.queries[0]?.protocols ?? {})[0], column: data.columns.length - 1 };

// An element with attributes and children; text is never read as HTML.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function draw(name, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(text);
  return element;
}

const source = (number) => `data:image/jpeg;base64,${data.images[number]}`;
const fixed = (value, digits) => (value === null ? "–" : value.toFixed(digits));
const person = (pid) => (pid > 0 ? `person ${pid}` : "a distractor");

function mark(isMatch, isSameCamera) {
  const marks = make("span", { class: `mark ${isMatch ? "match" : "wrong"}`, "aria-hidden": "true" }, isMatch ? "✓" : "✗");
  if (!isSameCamera) return [marks];
  const camera = draw("svg", { class: "camera", viewBox: "0 0 20 16", "aria-hidden": "true" });
  camera.append(draw("path", { d: "M2 4h4l1.5-2h5L14 4h4v10H2z" }), draw("circle", { cx: 10, cy: 9, r: 3 }));
  return [camera, marks];
}

// The numbers of the queries in the chosen group.
function shown() {
  const numbers = [...data.queries.keys()];
  if (state.group < 0) return numbers;
  return numbers.filter((number) => data.queries[number].groups.includes(state.group));
}

function showStrip() {
  const options = shown().map((number) => {
    const query = data.queries[number];
    const entry = query.protocols[state.protocol];
    const isSelected = number === state.query;
    const option = make("li", { role: "option", "aria-selected": isSelected, tabindex: isSelected ? 0 : -1, "data-query": number,
      "aria-label": `Query ${query.name}, ${person(query.pid)}, camera ${query.camid}` },
    make("img", { src: source(entry.image), alt: "" }), fixed(entry.precisions[state.column], 2));
    option.addEventListener("click", () => choose(number));
    return option;
  });
  byId("strip").replaceChildren(...options);
}

function choose(number, hasFocus = true) {
  state.query = number;
  const scrolled = byId("strip").scrollLeft;
  showAll();
  byId("strip").scrollLeft = scrolled;
  const option = byId("strip").querySelector('[aria-selected="true"]');
  if (option && hasFocus) option.focus({ preventScroll: false });
}

// Move by a number of queries within the group.
function move(step) {
  const numbers = shown();
  const place = numbers.indexOf(state.query) + step;
  if (place >= 0 && place < numbers.length) choose(numbers[place]);
}

function showQuery() {
  const query = data.queries[state.query];
  const entry = query.protocols[state.protocol];
  byId("query-image").src = source(entry.image);
  byId("query-image").alt = `Query ${query.name}`;
  const groups = query.groups.map((number) => data.groups[number]).join("; ");
  byId("query-text").replaceChildren(make("b", {}, `${person(query.pid)}, camera ${query.camid}`.replace(/^p/, "P")), make("span", {}, query.name),
    make("br"), `${entry.matches} matches, ${entry.junk} junk left out`, make("br"), make("small", {}, groups));
  data.columns.forEach((column, number) => { byId(`column-${number}`).textContent = fixed(entry.precisions[number], 3); });
}

function showResults() {
  const query = data.queries[state.query];
  const entry = query.protocols[state.protocol];
  let matches = 0;
  const cards = entry.lists[state.column].map((image, place) => {
    const [name, pid, camid, thumbnail] = data.gallery[image];
    const isMatch = pid === query.pid;
    const isSameCamera = camid === query.camid;
    matches += isMatch;
    const distance = entry.pairs[image].distances[state.column].toFixed(3);
    const told = `Rank ${place + 1}: ${isMatch ? "match" : "wrong"}, ${person(pid)}, camera ${camid}${isSameCamera ? ", the query's camera" : ""}, distance ${distance}`;
    const card = make("button", { class: `card ${isMatch ? "match" : "wrong"}`, "aria-label": told, title: name },
      make("img", { src: source(thumbnail), alt: "" }),
      make("div", {}, make("div", { class: "first" }, `${place + 1}`, make("span", {}, ...mark(isMatch, isSameCamera))), distance, make("br"), `cam ${camid}`));
    card.addEventListener("click", () => openPair(image));
    return make("li", {}, card);
  });
  byId("results").replaceChildren(...cards);
  const precision = fixed(entry.precisions[state.column], 3);
  byId("summary").textContent = `By ${data.columns[state.column].title}: ${matches} of the first ${cards.length} are matches, of ${entry.matches} in the gallery; average precision ${precision}.`;
}

function showAll() {
  showStrip();
  showQuery();
  showResults();
}

// The cells that are summed: DMLI's path, or the diagonal.
function cells(pair, isAligned) {
  if (!isAligned) return Array.from({ length: data.stripes }, (_, number) => [number, number]);
  const path = [[0, 0]];
  for (const step of pair.path) {
    const [row, column] = path.at(-1);
    path.push(step === "d" ? [row + 1, column] : [row, column + 1]);
  }
  return path;
}

const cost = (pair, row, column) => pair.costs[row * data.stripes + column] / data.scale;
// How alike two stripes are, from 0 to 1, among those of this pair of images.
function likeness(pair, value) {
  const [least, most] = [Math.min(...pair.costs), Math.max(...pair.costs)];
  return (most - data.scale * value) / (most - least || 1);
}

function drawLinks(images, pair, chosen, isAligned) {
  const [width, height, gap] = [128, 256, 90];
  const svg = draw("svg", { viewBox: `0 0 ${2 * width + gap} ${height}`, role: "img", "aria-label": "The two images with lines between compared stripes" });
  images.forEach((number, side) => {
    const x = side * (width + gap);
    svg.append(draw("image", { href: source(number), x, y: 0, width, height, preserveAspectRatio: "none" }));
    for (let stripe = 1; stripe < data.stripes; stripe++) {
      const y = (stripe * height) / data.stripes;
      svg.append(draw("line", { class: "stripe", x1: x, x2: x + width, y1: y, y2: y }));
    }
  });
  for (const [row, column] of chosen) {
    const [y1, y2] = [row, column].map((stripe) => ((stripe + 0.5) * height) / data.stripes);
    const alike = likeness(pair, cost(pair, row, column));
    svg.append(draw("line", { class: "link", x1: width + 3, x2: width + gap - 3, y1, y2, "stroke-width": 1 + 5 * alike * alike, "stroke-opacity": 0.4 + 0.6 * alike }));
  }
  return svg;
}

function drawCosts(pair, chosen, isAligned) {
  const [side, margin] = [40, 22];
  const size = margin + side * data.stripes;
  const svg = draw("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": `Costs of all pairs of stripes; ${isAligned ? "the cheapest path" : "the diagonal"} is marked` });
  const numbers = draw("g", { "pointer-events": "none" });
  const chosenCells = new Set(chosen.map(String));
  for (let row = 0; row < data.stripes; row++) {
    const middle = margin + (row + 0.5) * side;
    svg.append(draw("text", { x: margin / 2, y: middle + 4 }, row + 1), draw("text", { x: middle, y: margin - 8 }, row + 1));
    for (let column = 0; column < data.stripes; column++) {
      const value = cost(pair, row, column);
      const [x, y] = [margin + column * side, margin + row * side];
      const rect = draw("rect", { class: "cell", x: x + 1, y: y + 1, width: side - 2, height: side - 2, rx: 4, "fill-opacity": 0.05 + 0.8 * likeness(pair, value) });
      rect.append(draw("title", {}, `query stripe ${row + 1}, result stripe ${column + 1}: ${value.toFixed(3)}`));
      svg.append(rect);
      numbers.append(draw("text", { class: chosenCells.has(`${row},${column}`) ? "number in" : "number", x: x + side / 2, y: y + side / 2 + 4.5 }, Math.round(100 * value)));
    }
  }
  const route = (places, kind) => draw("polyline", { class: kind, "pointer-events": "none",
    points: places.map(([row, column]) => `${margin + (column + 0.5) * side},${margin + (row + 0.5) * side}`).join(" ") });
  svg.append(route(cells(pair, !isAligned), "route other"), route(chosen, isAligned ? "route" : "route straight"), numbers);
  return svg;
}

let opened = null;

function showPair() {
  const query = data.queries[state.query];
  const entry = query.protocols[state.protocol];
  const pair = entry.pairs[opened];
  const isAligned = document.querySelector('input[name="alignment"]:checked').value === "aligned";
  const chosen = cells(pair, isAligned);
  byId("links").replaceChildren(drawLinks([entry.image, data.gallery[opened][3]], pair, chosen, isAligned));
  byId("costs").replaceChildren(drawCosts(pair, chosen, isAligned));
  const [local, dmli] = [1, 2].map((number) => pair.distances[number]);
  const mean = (sum, count) => `${sum.toFixed(3)} (${(sum / count).toFixed(3)} a cell)`;
  byId("sums").textContent = `With alignment, the ${2 * data.stripes - 1} cells of the cheapest path sum to ${mean(dmli, 2 * data.stripes - 1)}. Without, the ${data.stripes} cells of the diagonal sum to ${mean(local, data.stripes)}.`;
}

function openPair(image) {
  opened = image;
  const query = data.queries[state.query];
  const [name, pid, camid] = data.gallery[image];
  const pair = query.protocols[state.protocol].pairs[image];
  const same = pid === query.pid ? "the same person ✓" : "another person ✗";
  byId("pair-text").textContent = `${query.name} (camera ${query.camid}) and ${name} (${person(pid)}, camera ${camid}): ${same}`;
  const cell = (name, text) => make(name, name === "th" ? { scope: "col" } : {}, text);
  byId("pair-head").replaceChildren(make("tr", {}, ...data.columns.map((column) => cell("th", column.title))));
  byId("pair-body").replaceChildren(make("tr", {}, ...pair.distances.map((value) => cell("td", value.toFixed(3)))));
  showPair();
  byId("pair").showModal();
}

function radio(name, value, isChecked, onChoice, ...content) {
  const input = make("input", { type: "radio", name, value });
  input.checked = isChecked;
  input.addEventListener("change", onChoice);
  return make("label", {}, input, make("span", {}, ...content));
}

function setUpBrowser() {
  const groups = [make("option", { value: -1 }, `All ${data.queries.length}`)];
  data.groups.forEach((title, number) => {
    if (data.queries.some((query) => query.groups.includes(number))) groups.push(make("option", { value: number }, title));
  });
  byId("group").append(...groups);
  byId("group").addEventListener("change", (event) => {
    state.group = Number(event.target.value);
    choose(shown()[0], false);
    byId("strip").scrollLeft = 0;
  });
  for (const protocol of Object.keys(data.queries[0].protocols)) {
    byId("protocols").append(radio("protocol", protocol, protocol === state.protocol, () => { state.protocol = protocol; showAll(); }, PROTOCOLS[protocol] ?? protocol));
  }
  data.columns.forEach((column, number) => {
    const choice = () => { state.column = number; showAll(); };
    byId("columns").append(radio("column", column.key, number === state.column, choice, column.title, make("small", { id: `column-${number}` })));
  });
  byId("alignment").addEventListener("change", showPair);
  byId("pair").addEventListener("click", (event) => { if (event.target === byId("pair")) byId("pair").close(); });
  showAll();
}

function setUpKeys() {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  byId("strip").addEventListener("keydown", (event) => {
    const numbers = shown();
    if (event.key in steps) move(steps[event.key]);
    else if (event.key === "Home") choose(numbers[0]);
    else if (event.key === "End") choose(numbers.at(-1));
    else if (event.key === "Enter") byId("results").querySelector("button")?.focus();
    else return;
    event.preventDefault();
  });
  byId("results").addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    const buttons = [...byId("results").querySelectorAll("button")];
    buttons[buttons.indexOf(document.activeElement) + steps[event.key]]?.focus();
    event.preventDefault();
  });
}

// A row of tabs shows one of the panels of its name; printed, and without script, all are there.
function setUpTabs() {
  for (const tabs of document.querySelectorAll("[data-tabs]")) {
    const panels = [...document.querySelectorAll(`[data-panel="${tabs.dataset.tabs}"]`)];
    const show = () => {
      const chosen = Number(tabs.querySelector("input:checked").value);
      panels.forEach((panel, number) => panel.classList.toggle("off", number !== chosen));
    };
    tabs.addEventListener("change", show);
    show();
  }
}

setUpTabs();
if (data.queries.length) {
  setUpBrowser();
  setUpKeys();
}
