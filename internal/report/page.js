"use strict";
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const run = report.run, sum = report.summary;
  const $ = (id) => document.getElementById(id);
  const began = Date.parse(run.started), total = Math.max(sum.seconds, 0.001);
  const offset = (time) => (Date.parse(time) - began) / 1000;
  const byName = new Map(run.targets.map((t) => [t.name, t]));

  // el makes an element; what is written into it is text, never HTML.
  function el(tag, props, ...children) {
    const e = document.createElement(tag);
    for (const [k, v] of Object.entries(props || {})) {
      if (k === "style") Object.assign(e.style, v);
      else if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
      else if (v === true) e.setAttribute(k, "");
      else if (v !== undefined && v !== false && v !== "") e.setAttribute(k, v);
    }
    e.append(...children.filter((c) => c !== null && c !== undefined));
    return e;
  }
  function took(s) {
    s = Math.round(s * 1000) / 1000;
    const two = (n) => String(Math.floor(n)).padStart(2, "0");
    if (s < 1) return s.toFixed(2) + "s";
    if (s < 60) return s.toFixed(1) + "s";
    if (s < 3600) return Math.floor(s / 60) + "m" + two(s % 60) + "s";
    return Math.floor(s / 3600) + "h" + two((s % 3600) / 60) + "m";
  }
  const signed = (s) => (s < 0 ? "−" : "+") + took(Math.abs(s));
  function size(n) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let u = 0;
    for (; n >= 1000 && u < units.length - 1; u++) n /= 1000;
    return (u === 0 || n >= 100 ? n.toFixed(0) : n.toPrecision(3)) + " " + units[u];
  }
  const place = (x) => (x.file ? x.file + (x.line ? ":" + x.line : "") : "");
  const result = (t) => (t.cached ? "cached" : t.status);
  const span = (a, b) => (a && b ? Math.max(0, (Date.parse(b) - Date.parse(a)) / 1000) : 0);
  const targetTook = (t) => span(t.started, t.finished);
  const written = (s) => !s.internal && s.name.startsWith("[") && !s.name.startsWith("[internal]") && !s.name.startsWith("[auth]");
  function counts(t) {
    let cached = 0, all = 0;
    for (const s of t.steps || []) {
      if (s.ended && written(s)) { all++; if (s.cached) cached++; }
    }
    return [cached, all];
  }

  function head() {
    const title = el("h1", null, "kiln build ", el("span", { class: "badge " + sum.status }, sum.status));
    const facts = [new Date(began).toLocaleString("en-GB"), run.definition, (run.builders || []).join(", "), run.commit && "commit " + run.commit.slice(0, 12), run.kiln && "kiln " + run.kiln];
    const quote = (a) => (/^[\w@%+=:,./-]+$/.test(a) ? a : "'" + a.replaceAll("'", "'\\''") + "'");
    $("head").append(title, el("div", { class: "dim" }, facts.filter(Boolean).join(" · ")),
      el("div", { class: "dim mono" }, "$ kiln " + (run.args || []).map(quote).join(" ")));
    const cards = el("div", { class: "cards" });
    const card = (value, text) => cards.append(el("div", { class: "card" }, el("b", null, value), el("span", null, text)));
    card(took(sum.seconds), report.before ? signed(sum.seconds - report.before.seconds) + " against the run before" : "in all");
    card(sum.built + " / " + sum.targets, "targets built" + (sum.cached ? ", " + sum.cached + " cached" : ""));
    for (const k of ["failed", "skipped", "cancelled"]) if (sum[k]) card(sum[k], k);
    if (sum.steps) card(Math.floor((100 * sum.stepsCached) / sum.steps) + " %", sum.stepsCached + " of " + sum.steps + " steps cached");
    if (sum.sent) card(size(sum.sent), "sent to the builder");
    if (sum.pulled) card(size(sum.pulled), "pulled");
    if (sum.pushed) card(size(sum.pushed), "pushed or exported");
    if (sum.retries) card(sum.retries, "tried again");
    $("head").append(cards);
  }

  function failures() {
    for (const t of run.targets) {
      const f = t.failure;
      if (!f || t.status !== "failed") continue;
      $("failures").hidden = false;
      const box = el("div", { class: "failure" }, el("b", null, t.name + " failed"), place(f) ? " at " + place(f) : "", el("pre", null, f.text));
      if (f.log) box.append(el("pre", { class: "dim" }, f.log));
      $("failures").append(box);
    }
  }

  function table(where, header, rows) {
    const tr = el("tr", null, ...header.map((h) => el("th", { class: h.num ? "num" : "" }, h.name || h)));
    where.replaceChildren(el("thead", null, tr), el("tbody", null, ...rows));
  }
  const num = (text, cls) => el("td", { class: "num " + (cls || "") }, text);
  const link = (name) => el("a", { href: "#", onclick: (e) => { e.preventDefault(); choose(name); } }, name);
  const stepCell = (s) => el("td", null, el("code", null, s.step), place(s) ? el("span", { class: "dim" }, "  " + place(s)) : null);

  const onPath = new Set(), onPathTarget = new Set();
  function critical() {
    const path = report.critical.path;
    if (!path.length) return;
    $("critical").hidden = false;
    let best = -1;
    path.forEach((p, i) => {
      onPath.add(p.target + "\0" + (p.digest || p.step));
      onPathTarget.add(p.target);
      if (p.saves > 0 && (best < 0 || p.saves > path[best].saves || (p.saves === path[best].saves && p.seconds > path[best].seconds))) best = i;
    });
    $("advice").append(took(report.critical.seconds) + " of " + took(sum.seconds) + ". ");
    if (best >= 0) {
      const p = path[best];
      $("advice").append("First to speed up: ", el("b", null, p.target + " " + p.step), ", which takes " + took(p.seconds) + "; without it the run would be ", el("b", null, took(p.saves) + " shorter"), p.saves < p.seconds / 2 ? ", for something else takes nearly as long." : ".");
    }
    path.forEach((p, i) => {
      const cls = (p.step === "export" ? "export" : "") + (i === best ? " best" : "");
      $("ribbon").append(el("div", { class: cls, title: p.target + " " + p.step + "\n" + took(p.seconds), onclick: () => choose(p.target),
        style: { left: (100 * p.start) / total + "%", width: (100 * p.seconds) / total + "%" } }, p.target + " " + p.step));
    });
    const shown = path.filter((p) => p.seconds >= 0.005).slice(0, 200);
    table($("path"), [{ name: "start", num: 1 }, { name: "waited", num: 1 }, { name: "took", num: 1 }, { name: "would save", num: 1 }, "target", "step"], shown.map((p) =>
      el("tr", null, num(took(p.start)), num(p.wait >= 0.01 ? took(p.wait) + (p.slot ? " for a slot" : "") : ""), num(took(p.seconds)), num(p.saves ? took(p.saves) : ""), el("td", { class: "name" }, link(p.target)), stepCell(p))));
  }

  // The timeline: a row for each target, and below one that is open a row for
  // each of its steps.
  let zoom = 1, chosen = "";
  const open = new Set();
  const percent = (s) => (100 * Math.max(0, s)) / total + "%";
  function bar(cls, from, to, title, text) {
    return el("div", { class: "bar " + cls, title, style: { left: percent(from), width: percent(to - from) } }, text ? el("em", null, text) : null);
  }
  function targetBars(t) {
    const bars = el("div", { class: "bars" });
    if (!t.started) return bars;
    const start = offset(t.started), end = t.finished ? offset(t.finished) : sum.seconds;
    if (t.queued && start - offset(t.queued) > 0) bars.append(bar("wait", offset(t.queued), start, "waiting " + took(start - offset(t.queued))));
    const kind = result(t) === "cached" ? "cached" : t.status === "failed" ? "failed" : "work";
    const text = took(targetTook(t)), exports = t.exporting && offset(t.exporting);
    if (exports) {
      const solved = t.solved ? offset(t.solved) : exports;
      bars.append(bar(kind, start, solved, t.name + ": " + took(solved - start)), bar("export", exports, end, "export: " + took(end - exports), text));
    } else bars.append(bar(kind, start, end, t.name + ": " + text, text));
    return bars;
  }
  function targetRow(t) {
    const cls = "row target " + (t.status === "failed" ? "failed " : "") + (onPathTarget.has(t.name) ? "critical " : "") + (t.name === chosen ? "chosen" : "");
    const row = el("div", { class: cls, tabindex: "0", role: "button", "data-target": t.name, title: t.name + ": " + result(t), onclick: () => toggle(t) },
      el("div", { class: "label" }, (t.steps && t.steps.length ? (open.has(t.name) ? "▾ " : "▸ ") : "   ") + t.name), targetBars(t));
    row.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); toggle(t); } });
    return row;
  }
  function stepRow(t, s) {
    const cls = "row step " + (onPath.has(t.name + "\0" + s.digest) ? "critical " : "") + (s.error ? "failed" : "");
    const bars = el("div", { class: "bars" });
    const kind = s.error ? "failed" : s.cached ? "cached" : "work";
    const end = s.ended || t.finished; // one that was still running ended with its target
    const time = span(s.started, end);
    if (s.started) bars.append(bar(kind, offset(s.started), end ? offset(end) : sum.seconds, s.name, s.cached ? "cached" : took(time) + (s.ended ? "" : ", not finished")));
    return el("div", { class: cls, title: [s.name, place(s), took(time)].filter(Boolean).join("\n"), onclick: () => detail(t, s) }, el("div", { class: "label" }, s.name), bars);
  }
  function toggle(t) {
    if (open.has(t.name)) open.delete(t.name); else open.add(t.name);
    chosen = t.name;
    detail(t);
    rows();
  }
  function choose(name) {
    const t = byName.get(name);
    if (!t) return;
    open.add(name);
    chosen = name;
    detail(t);
    rows();
    const row = document.querySelector(`[data-target="${CSS.escape(name)}"]`);
    if (row) row.scrollIntoView({ block: "center" });
  }
  const orders = {
    start: (a, b) => (Date.parse(a.started || a.finished || run.ended) - Date.parse(b.started || b.finished || run.ended)),
    time: (a, b) => targetTook(b) - targetTook(a),
    name: (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  };
  function rows() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean), only = $("filter").value;
    const hit = (text) => words.every((w) => text.toLowerCase().includes(w));
    const list = [];
    let n = 0;
    for (const t of [...run.targets].sort(orders[$("order").value])) {
      if (only && result(t) !== only) continue;
      const steps = t.steps || [];
      const found = words.length && !hit(t.name) ? steps.filter((s) => hit(t.name + " " + s.name)) : null;
      if (found && !found.length) continue;
      n++;
      list.push(targetRow(t));
      if (found) for (const s of found) list.push(stepRow(t, s));
      else if (open.has(t.name)) for (const s of steps) list.push(stepRow(t, s));
    }
    $("rows").replaceChildren(...list);
    $("count").textContent = n + " of " + run.targets.length + " targets";
    scale();
  }
  function scale() {
    const side = window.innerWidth <= 700 ? 130 : 240;
    const width = Math.max(200, $("chart").clientWidth - side - 70) * zoom;
    $("rows").style.width = side + width + 70 + "px";
    for (const b of document.querySelectorAll(".bars")) b.style.flex = "0 0 " + width + "px";
    const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200];
    const tick = steps.find((s) => (s * width) / total >= 70) || 14400;
    const marks = [];
    for (let s = 0; s <= total; s += tick) marks.push(el("span", { style: { left: (s * width) / total + "px" } }, s === 0 ? "0" : s < 1 ? s.toFixed(2) + "s" : took(s).replace(/\.0s$/, "s")));
    $("axis").style.width = width + 70 + "px";
    $("axis").replaceChildren(...marks);
  }

  function detail(t, s) {
    const facts = [];
    const fact = (name, value) => { if (value !== undefined && value !== "" && value !== null) facts.push(el("tr", null, el("td", null, name), el("td", null, value))); };
    const list = (names) => { const box = el("span"); names.forEach((n, i) => box.append(i ? ", " : "", byName.has(n) ? link(n) : n)); return box; };
    if (s) {
      fact("target", link(t.name));
      fact("result", s.error ? "failed" : s.cached ? "cached" : s.ended ? "done" : "not finished");
      fact("took", took(span(s.started, s.ended || t.finished)));
      if (s.started) fact("start", took(offset(s.started)));
      fact("written in", place(s));
      for (const k of ["sent", "pulled", "pushed"]) if (s[k]) fact(k, size(s[k]));
      fact("vertex", s.digest);
    } else {
      const [cached, all] = counts(t);
      fact("result", el("span", { class: "badge " + result(t) }, result(t)));
      fact("took", took(targetTook(t)));
      if (t.started) fact("start", took(offset(t.started)));
      fact("waited", t.started ? took(span(t.queued, t.started)) : "");
      fact("solved in", t.solved ? took(span(t.started, t.solved)) : "");
      fact("exported in", t.exporting ? took(span(t.exporting, t.finished)) : "");
      fact("steps", all ? cached + " of " + all + " cached" : "");
      fact("digest", t.digest && el("code", null, t.digest));
      fact("output", (t.references || []).join(", "));
      if (t.needs) fact("needs", list(t.needs));
      if (t.after) fact("after", list(t.after));
      const needers = run.targets.filter((x) => (x.needs || []).includes(t.name)).map((x) => x.name);
      if (needers.length) fact("needed by", list(needers));
      fact("builder", (t.builders || []).join(", "));
      fact("tried again", t.retries);
      for (const w of t.warnings || []) fact("warning", w);
    }
    const box = $("detail");
    box.replaceChildren(el("button", { class: "close", title: "close", onclick: () => { box.hidden = true; } }, "×"), el("h2", null, s ? s.name : t.name), el("table", null, el("tbody", null, ...facts)));
    const failure = s ? s.error : t.failure && t.failure.text;
    if (failure) box.append(el("pre", null, failure));
    box.hidden = false;
  }

  function slow() {
    if (!report.slowest.length) return;
    $("slow").hidden = false;
    table($("slowest"), [{ name: "took", num: 1 }, { name: "start", num: 1 }, "target", "step"], report.slowest.map((s) =>
      el("tr", null, num(took(s.seconds)), num(took(s.start)), el("td", { class: "name" }, link(s.target)), stepCell(s))));
  }
  function compare() {
    const c = report.before;
    if (!c) return;
    $("before").hidden = false;
    const parts = ["Run " + c.id + " took " + took(c.seconds) + ", with " + c.stepsCached + " of " + c.steps + " steps cached."];
    if (c.new.length) parts.push("New: " + c.new.join(", ") + ".");
    if (c.gone.length) parts.push("Not in this run: " + c.gone.join(", ") + ".");
    $("difference").textContent = parts.join(" ");
    table($("changes"), ["target", { name: "before", num: 1 }, { name: "now", num: 1 }, { name: "change", num: 1 }, ""], c.targets.slice(0, 200).map((t) =>
      el("tr", null, el("td", { class: "name" }, link(t.target)), num(took(t.before)), num(took(t.now)), num(signed(t.now - t.before), t.now > t.before ? "up" : "down"), el("td", { class: "dim" }, t.from === t.to ? "" : t.from + ", now " + t.to))));
  }

  // The table of targets, sorted by the column that was clicked last.
  const columns = [
    { name: "target", key: (t) => t.name, cell: (t) => el("td", { class: "name" }, link(t.name)) },
    { name: "result", key: result, cell: (t) => el("td", null, el("span", { class: "badge " + result(t) }, result(t))) },
    { name: "took", num: 1, key: targetTook, cell: (t) => num(t.started ? took(targetTook(t)) : "") },
    { name: "cached", num: 1, key: (t) => { const [c, a] = counts(t); return a ? c / a : -1; }, cell: (t) => { const [c, a] = counts(t); return num(a ? c + "/" + a : ""); } },
    { name: "sent", num: 1, key: (t) => bytes(t, "sent"), cell: (t) => num(bytes(t, "sent") ? size(bytes(t, "sent")) : "") },
    { name: "pulled", num: 1, key: (t) => bytes(t, "pulled"), cell: (t) => num(bytes(t, "pulled") ? size(bytes(t, "pulled")) : "") },
    { name: "output", key: (t) => (t.references || [""])[0], cell: (t) => el("td", null, (t.references || []).join(", ") || (t.failure && t.status !== "failed" ? t.failure.text : "")) },
  ];
  const bytes = (t, what) => (t.steps || []).reduce((n, s) => n + (s[what] || 0), 0);
  let sorted = -1, down = false;
  function targets() {
    const list = [...run.targets];
    if (sorted >= 0) {
      const key = columns[sorted].key;
      list.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (down ? -1 : 1));
    }
    const header = columns.map((c, i) => ({ num: c.num, name: el("button", { onclick: () => { down = sorted === i ? !down : Boolean(c.num); sorted = i; targets(); } }, c.name + (sorted === i ? (down ? " ↓" : " ↑") : "")) }));
    table($("targets"), header, list.map((t) => el("tr", null, ...columns.map((c) => c.cell(t)))));
  }

  head();
  failures();
  critical();
  slow();
  compare();
  targets();
  rows();
  let pause;
  $("search").addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(rows, 80); });
  $("filter").addEventListener("change", rows);
  $("order").addEventListener("change", rows);
  $("in").addEventListener("click", () => { zoom = Math.min(zoom * 2, 64); scale(); });
  $("out").addEventListener("click", () => { zoom = Math.max(zoom / 2, 1); scale(); });
  $("fit").addEventListener("click", () => { zoom = 1; scale(); });
  window.addEventListener("resize", scale);
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape") $("detail").hidden = true;
    if (e.key === "/" && document.activeElement !== $("search")) { e.preventDefault(); $("search").focus(); }
  });
})();
