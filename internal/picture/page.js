"use strict";
// The page is drawn from its data: nodes, edges and where they lie. A choice
// is a target in the fragment of the address, so that Back goes back.

const data = JSON.parse(document.getElementById("data").textContent);
const nodes = data.nodes, edges = data.edges;
const $ = id => document.getElementById(id);
const stage = $("stage"), world = $("world"), panel = $("panel"), find = $("find");
const kinds = ["context", "depends-on", "base"];

const svg = (name, attrs, text) => {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const k in attrs) e.setAttribute(k, attrs[k]);
  if (text !== undefined) e.textContent = text;
  return e;
};
const html = (name, attrs, ...content) => {
  const e = document.createElement(name);
  for (const k in attrs) k === "onclick" ? e.onclick = attrs[k] : e.setAttribute(k, attrs[k]);
  e.append(...content);
  return e;
};

// What needs what, by edge.
const byName = new Map(nodes.map((n, i) => [n.name, i]));
const needs = nodes.map(() => []), needers = nodes.map(() => []), groupsOf = nodes.map(() => []);
edges.forEach((e, i) => { needs[e.from].push(i); needers[e.to].push(i); });
for (const g of data.groups) for (const m of g.members) if (byName.has(m)) groupsOf[byName.get(m)].push(g.name);
const haystack = nodes.map((n, i) => [n.name, n.description || "", n.variant || "", groupsOf[i].join(" "), n.attrs ? JSON.stringify(n.attrs.tags || "") : ""].join("\n").toLowerCase());

// Lines of one kind are one path: a thousand targets stay light.
const drawEdges = (into, list, extra) => {
  for (const kind of kinds) {
    const of = list.filter(i => edges[i].kind === kind);
    if (!of.length) continue;
    const g = svg("g", { class: `edge ${kind} ${extra}` });
    g.append(svg("path", { d: of.map(i => edges[i].path).join("") }), svg("path", { class: "tip", d: of.map(i => edges[i].tip).join("") }));
    into.append(g);
  }
};
drawEdges($("lines"), edges.map((_, i) => i), "");
const boxes = nodes.map((n, i) => {
  const g = svg("g", { class: n.class, "data-node": i, transform: `translate(${n.x} ${n.y})` });
  g.append(svg("title", {}, n.title), svg("rect", { width: n.w, height: n.h, rx: n.image ? 0 : 6 }), svg("text", { x: 12, y: n.h / 2 + 4 }, n.name));
  $("boxes").append(g);
  return g;
});

// Where one looks from: a point of the drawing at the stage's corner, and the scale.
const view = { x: 0, y: 0, k: 1, due: false };
const show = () => {
  if (view.due) return;
  view.due = true;
  requestAnimationFrame(() => {
    view.due = false;
    world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`);
    stage.classList.toggle("far", view.k < 0.33);
  });
};
const size = () => stage.getBoundingClientRect();
const zoom = (by, x, y) => {
  const k = Math.min(4, Math.max(0.03, view.k * by));
  view.x = x - (x - view.x) * k / view.k;
  view.y = y - (y - view.y) * k / view.k;
  view.k = k;
  show();
};
const zoomMiddle = by => { const s = size(); zoom(by, s.width / 2, s.height / 2); };
const fitTo = (x, y, width, height) => {
  const s = size();
  view.k = Math.max(0.03, Math.min(1.25, s.width / width, s.height / height));
  view.x = s.width / 2 - (x + width / 2) * view.k;
  view.y = s.height / 2 - (y + height / 2) * view.k;
  show();
};
const fit = () => fitTo(0, 0, data.width, data.height);
// focus shows the chosen target with all that is lit.
const focus = () => {
  const lit = nodes.filter((_, i) => ["self", "need", "needer"].some(c => boxes[i].classList.contains(c)));
  if (!lit.length) return fit();
  const x = Math.min(...lit.map(n => n.x)) - 20, y = Math.min(...lit.map(n => n.y)) - 20;
  fitTo(x, y, Math.max(...lit.map(n => n.x + n.w)) + 20 - x, Math.max(...lit.map(n => n.y + n.h)) + 20 - y);
};
// reveal moves as little as it takes for a node to be seen and read.
const reveal = i => {
  const s = size(), n = nodes[i];
  if (view.k < 0.6) {
    view.k = 1;
    view.x = s.width / 2 - n.x - n.w / 2;
    view.y = s.height / 2 - n.y - n.h / 2;
  }
  const within = (at, length, room) => at < 20 ? 20 - at : at + length > room - 20 ? room - 20 - at - length : 0;
  view.x += within(view.x + n.x * view.k, n.w * view.k, s.width);
  view.y += within(view.y + n.y * view.k, n.h * view.k, s.height);
  show();
};

// Pointers: one drags, two pinch; one that has not moved clicks.
const pointers = new Map();
let moved = 0, clicked = null;
stage.addEventListener("pointerdown", e => {
  if (e.button) return;
  if (!pointers.size) { moved = 0; clicked = e.target.closest("[data-node]"); }
  pointers.set(e.pointerId, { x: e.clientX, y: e.clientY });
  stage.setPointerCapture(e.pointerId);
});
stage.addEventListener("pointermove", e => {
  const was = pointers.get(e.pointerId);
  if (!was) return;
  const now = { x: e.clientX, y: e.clientY };
  moved += Math.abs(now.x - was.x) + Math.abs(now.y - was.y);
  if (pointers.size === 1) {
    view.x += now.x - was.x;
    view.y += now.y - was.y;
    if (moved > 4) stage.classList.add("dragging");
    show();
  } else if (pointers.size === 2) {
    const [a, b] = [...pointers.values()];
    const other = a === was ? b : a, s = size();
    const far = p => Math.hypot(p.x - other.x, p.y - other.y) || 1;
    zoom(far(now) / far(was), (now.x + other.x) / 2 - s.left, (now.y + other.y) / 2 - s.top);
  }
  pointers.set(e.pointerId, now);
});
const lift = e => {
  if (!pointers.delete(e.pointerId) || pointers.size) return;
  stage.classList.remove("dragging");
  if (e.type === "pointerup" && moved <= 4) choose(clicked ? +clicked.dataset.node : -1);
};
stage.addEventListener("pointerup", lift);
stage.addEventListener("pointercancel", lift);
stage.addEventListener("wheel", e => {
  e.preventDefault();
  const s = size(), unit = e.deltaMode ? 20 : 1;
  if (e.shiftKey) { view.x -= (e.deltaX || e.deltaY) * unit; show(); return; }
  zoom(Math.exp(-e.deltaY * unit / (e.ctrlKey ? 100 : 500)), e.clientX - s.left, e.clientY - s.top);
}, { passive: false });

// Choosing a target.
let chosen = -1;
const reach = (from, next, end) => {
  const lit = new Set(), seen = new Set([from]), todo = [from];
  while (todo.length) for (const i of next[todo.pop()]) {
    lit.add(i);
    const to = edges[i][end];
    if (!seen.has(to)) { seen.add(to); todo.push(to); }
  }
  seen.delete(from);
  return { lit: [...lit], seen };
};
const choose = i => {
  const hash = i < 0 ? "" : "#" + encodeURIComponent(nodes[i].name);
  if (location.hash !== hash) location.hash = hash; // the event does the rest
  else apply();
};
const apply = () => {
  let name = "";
  try { name = decodeURIComponent(location.hash.slice(1)); } catch { /* not one of ours */ }
  chosen = byName.has(name) ? byName.get(name) : -1;
  const down = chosen < 0 ? { lit: [], seen: new Set() } : reach(chosen, needs, "to");
  const up = chosen < 0 ? { lit: [], seen: new Set() } : reach(chosen, needers, "from");
  stage.classList.toggle("chosen", chosen >= 0);
  boxes.forEach((b, i) => {
    b.classList.toggle("self", i === chosen);
    b.classList.toggle("need", down.seen.has(i));
    b.classList.toggle("needer", up.seen.has(i));
  });
  $("lit").replaceChildren();
  drawEdges($("lit"), down.lit, "need");
  drawEdges($("lit"), up.lit, "needer");
  if (chosen >= 0) { describe(chosen, down.seen.size, up.seen.size); reveal(chosen); }
  else overview();
};
addEventListener("hashchange", apply);

// The panel.
const place = x => x.file ? `${x.file}:${x.line}` : "";
const how = e => e.kind === "context" ? `context ${e.name}` : e.kind;
const link = (i, ...rest) => html("li", {}, html("button", { type: "button", onclick: () => choose(i) }, nodes[i].name), ...rest);
const section = (title, list, end) => list.length ? [html("h3", {}, title), html("ul", {}, ...list.map(i =>
  link(edges[i][end], html("span", { class: "soft" }, ` ${how(edges[i])}${edges[i].file ? ", " + place(edges[i]) : ""}`))))] : [];
const value = v => typeof v === "string" ? v : Array.isArray(v) && v.every(x => typeof x === "string") ? v.join("\n") : JSON.stringify(v, null, 2);
const inAll = (direct, all) => all > new Set(direct).size ? `, ${all} in all` : "";
const describe = (i, down, up) => {
  const n = nodes[i];
  const facts = [n.image ? "image" : "target", n.variant && `variant ${n.variant}`, n.requested && "asked for", groupsOf[i].length && `in ${groupsOf[i].join(", ")}`].filter(Boolean);
  panel.replaceChildren(
    html("h2", {}, n.name),
    ...n.description ? [html("p", {}, n.description)] : [],
    html("p", { class: "soft" }, facts.join(" · ")),
    ...n.file ? [html("p", { class: "soft" }, "declared at " + place(n))] : [],
    ...section(`Needs${inAll(needs[i].map(e => edges[e].to), down)}`, needs[i], "to"),
    ...section(`Needed by${inAll(needers[i].map(e => edges[e].from), up)}`, needers[i], "from"),
    ...n.attrs ? [html("h3", {}, "Resolved attributes"), html("dl", {}, ...Object.entries(n.attrs).flatMap(([k, v]) => [html("dt", {}, k), html("dd", {}, value(v))]))] : []);
  panel.scrollTop = 0;
};
const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const overview = () => {
  const images = nodes.filter(n => n.image).length;
  panel.replaceChildren(
    html("p", {}, `${counted(nodes.length - images, "target")}${images ? `, ${counted(images, "image")}` : ""}, ${counted(edges.length, "edge")}.`),
    html("p", { class: "soft" }, "Click a target for what it resolved to, what it needs and what needs it."),
    ...data.groups.length ? [html("h3", {}, "Groups"), html("ul", {}, ...data.groups.map(g =>
      html("li", {}, html("button", { type: "button", onclick: () => { find.value = g.name; search(); find.focus(); } }, g.name), html("span", { class: "soft" }, ` ${g.description || g.members.join(", ")}`))))] : []);
};

// Searching: names first, then what else is said of a target.
let hits = [], hit = -1;
const mostHits = 200;
const search = () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  hits = words.length ? nodes.map((_, i) => i).filter(i => words.every(w => haystack[i].includes(w))) : [];
  const rank = i => { const n = nodes[i].name.toLowerCase(), w = words[0]; return n === w ? 0 : n.startsWith(w) ? 1 : n.includes(w) ? 2 : 3; };
  hits.sort((a, b) => rank(a) - rank(b) || a - b);
  hit = hits.length ? 0 : -1;
  const found = new Set(hits);
  boxes.forEach((b, i) => b.classList.toggle("hit", found.has(i)));
  $("count").textContent = words.length ? hits.length ? `${hits.length} of ${nodes.length}` : "nothing found" : "";
  if (!words.length) { chosen >= 0 ? apply() : overview(); return; }
  panel.replaceChildren(html("ul", { id: "hits" }, ...hits.slice(0, mostHits).map(i => link(i, html("span", { class: "soft" }, nodes[i].description ? ` ${nodes[i].description}` : "")))),
    ...hits.length > mostHits ? [html("p", { class: "soft" }, `and ${hits.length - mostHits} more`)] : []);
  mark();
};
const mark = () => {
  const rows = [...panel.querySelectorAll("#hits li")];
  rows.forEach((r, i) => r.classList.toggle("on", i === hit));
  if (rows[hit]) rows[hit].scrollIntoView({ block: "nearest" });
  if (hit >= 0) reveal(hits[hit]);
};
find.addEventListener("input", search);
find.addEventListener("keydown", e => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
  if (step && hits.length) { hit = (hit + step + hits.length) % hits.length; mark(); e.preventDefault(); }
  if (e.key === "Enter" && hit >= 0) { choose(hits[hit]); stage.focus(); }
});

// Keys.
const walk = key => {
  if (chosen < 0) return -1;
  if (key === "ArrowRight") return needs[chosen].length ? edges[needs[chosen][0]].to : -1;
  if (key === "ArrowLeft") return needers[chosen].length ? edges[needers[chosen][0]].from : -1;
  const column = nodes.map((_, i) => i).filter(i => nodes[i].x === nodes[chosen].x).sort((a, b) => nodes[a].y - nodes[b].y);
  return column[column.indexOf(chosen) + (key === "ArrowDown" ? 1 : -1)] ?? -1;
};
document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.altKey || e.metaKey) return;
  if (e.key === "Escape") {
    if (find.value) { find.value = ""; search(); } else choose(-1);
    stage.focus();
    return;
  }
  if (e.target === find) return;
  const pan = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[e.key];
  if (e.key === "/") find.focus();
  else if (e.key === "+" || e.key === "=") zoomMiddle(1.25);
  else if (e.key === "-") zoomMiddle(0.8);
  else if (e.key === "0") fit();
  else if (e.key === "f") focus();
  else if (pan && (e.target === stage || e.target === document.body)) {
    if (chosen < 0) { view.x += pan[0]; view.y += pan[1]; show(); }
    else if (walk(e.key) >= 0) choose(walk(e.key));
  } else return;
  e.preventDefault();
});
$("in").onclick = () => zoomMiddle(1.25);
$("out").onclick = () => zoomMiddle(0.8);
$("fit").onclick = fit;
let touched = false;
stage.addEventListener("pointerdown", () => { touched = true; });
addEventListener("resize", () => { if (!touched && chosen < 0) fit(); });

fit();
apply();
