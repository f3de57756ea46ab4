"use strict";
(() => {
  const svg = document.getElementById("graph"), about = document.getElementById("about"), tip = document.getElementById("tip");
  const find = document.getElementById("find"), hits = document.getElementById("hits");
  const { nodes, edges, css, labels, width, height, box } = DATA;
  const [NAME, OP, UNDER, KEY, X, Y, W, LINES] = [0, 1, 2, 3, 4, 5, 6, 7];
  const make = (parent, tag, attributes, text) => {
    const made = document.createElementNS(svg.namespaceURI, tag);
    for (const name in attributes) made.setAttribute(name, attributes[name]);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };

  // The drawing: lines below, boxes above.
  const world = make(svg, "g", {}), wires = make(world, "g", {}), boxes = make(world, "g", {});
  const paths = edges.map(([, , , d, jump]) => make(wires, "path", jump ? { d, class: "jump" } : { d }));
  const shapes = nodes.map((node, number) => {
    const group = make(boxes, "g", { class: "node", transform: `translate(${node[X]} ${node[Y]})`, "data-n": number });
    const label = css[node[KEY]];
    make(group, "rect", { x: -node[W] / 2, y: -box / 2, width: node[W], height: box, rx: label === "k-value" ? box / 2 : 6, class: label });
    make(group, "text", { y: node[UNDER] ? -2 : 4 }, node[OP]);
    if (node[UNDER]) make(group, "text", { y: 11, class: "under" }, node[UNDER]);
    return group;
  });
  const into = nodes.map(() => []), from = nodes.map(() => []);
  edges.forEach(([a, b], number) => { from[a].push(number); into[b].push(number); });

  // The view: a point of the drawing in the middle, and a scale.
  const view = { x: width / 2, y: height / 2, scale: 1 };
  let untouched = true;
  const room = () => svg.getBoundingClientRect();
  const draw = () => {
    const { width: w, height: h } = room();
    world.setAttribute("transform", `translate(${w / 2 - view.x * view.scale} ${h / 2 - view.y * view.scale}) scale(${view.scale})`);
    svg.classList.toggle("small", view.scale < 0.34);
  };
  const whole = () => {
    const { width: w, height: h } = room();
    return Math.min(w / (width + 40), h / (height + 40), 1.2) || 1;
  };
  const fit = () => { untouched = true; Object.assign(view, { x: width / 2, y: height / 2, scale: whole() }); draw(); };
  const zoom = (factor, x, y) => {
    const box = room();
    untouched = false;
    const scale = Math.min(Math.max(view.scale * factor, whole() / 2), 4);
    const dx = (x ?? box.left + box.width / 2) - box.left - box.width / 2, dy = (y ?? box.top + box.height / 2) - box.top - box.height / 2;
    view.x += dx / view.scale - dx / scale;
    view.y += dy / view.scale - dy / scale;
    view.scale = scale;
    draw();
  };
  const show = (number) => {
    const [x, y] = [nodes[number][X], nodes[number][Y]], { width: w, height: h } = room();
    untouched = false;
    if (view.scale < 0.6) view.scale = 0.9;
    const wide = Math.max(w / 2 / view.scale - 90, 0), high = Math.max(h / 2 / view.scale - 60, 0);
    view.x = Math.min(Math.max(view.x, x - wide), x + wide);
    view.y = Math.min(Math.max(view.y, y - high), y + high);
    draw();
  };
  new ResizeObserver(() => untouched ? fit() : draw()).observe(svg);

  // One node chosen: its lines stand out, and all that is known of it is told.
  let chosen = null;
  const add = (tag, text, parent = about) => {
    const made = document.createElement(tag);
    made.textContent = text;
    parent.append(made);
    return made;
  };
  const links = (title, numbers, end) => {
    if (!numbers.length) return;
    add("p", title);
    const list = add("ul", "");
    for (const number of numbers.slice(0, 40)) {
      const other = edges[number][end];
      const button = add("button", `${nodes[other][OP]} ${nodes[other][NAME]}`, add("li", "", list));
      button.type = "button";
      button.title = edges[number][2];
      button.addEventListener("click", () => { choose(other); show(other); });
    }
  };
  const choose = (number) => {
    if (chosen !== null) {
      shapes[chosen].classList.remove("on");
      for (const edge of [...into[chosen], ...from[chosen]]) paths[edge].classList.remove("on");
    }
    chosen = number;
    about.hidden = number === null;
    about.textContent = "";
    if (number === null) return;
    const node = nodes[number];
    shapes[number].classList.add("on");
    boxes.append(shapes[number]);
    for (const edge of [...into[number], ...from[number]]) { paths[edge].classList.add("on"); wires.append(paths[edge]); }
    add("h2", node[OP]);
    const close = add("button", "×");
    close.className = "close";
    close.type = "button";
    close.setAttribute("aria-label", "close");
    close.addEventListener("click", () => { choose(null); svg.focus(); });
    if (node[NAME] !== node[OP]) add("p", node[NAME]);
    add("p", labels[node[KEY]]).style.fontWeight = 600;
    for (const line of node[LINES]) add("p", line);
    links("reads from", into[number], 0);
    links("read by", from[number], 1);
  };

  // Point for a word, click for everything, drag and pinch to move.
  const at = (event) => { const found = event.target.closest(".node"); return found ? Number(found.dataset.n) : null; };
  const pointers = new Map();
  let moved = false;
  svg.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    moved = false;
  });
  svg.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return hover(event);
    const dx = event.clientX - before[0], dy = event.clientY - before[1];
    if (!moved && Math.hypot(dx, dy) < 4) return;
    if (!moved) { moved = true; tip.hidden = true; svg.classList.add("moving"); svg.setPointerCapture(event.pointerId); }
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const gap = Math.hypot(before[0] - other[0], before[1] - other[1]);
      zoom(Math.hypot(event.clientX - other[0], event.clientY - other[1]) / Math.max(gap, 1), (event.clientX + other[0]) / 2, (event.clientY + other[1]) / 2);
    } else {
      untouched = false;
      view.x -= dx / view.scale;
      view.y -= dy / view.scale;
      draw();
    }
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  const release = (event) => { pointers.delete(event.pointerId); svg.classList.remove("moving"); };
  svg.addEventListener("pointerup", release);
  svg.addEventListener("pointercancel", release);
  svg.addEventListener("click", (event) => { if (!moved) choose(at(event)); moved = false; });
  svg.addEventListener("dblclick", (event) => zoom(1.8, event.clientX, event.clientY));
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.clientX, event.clientY);
  }, { passive: false });
  const hover = (event) => {
    const number = at(event);
    tip.hidden = number === null;
    if (number === null) return;
    const node = nodes[number];
    tip.textContent = [`${node[OP]} ${node[NAME] === node[OP] ? "" : node[NAME]}`, labels[node[KEY]], ...node[LINES].slice(0, 3)].join("\n");
    tip.style.left = Math.max(8, Math.min(event.clientX + window.scrollX + 14, document.documentElement.clientWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = event.clientY + window.scrollY + 18 + "px";
  };
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });

  // Search and legend: what does not belong fades.
  let found = [], place = -1, only = null;
  const mark = () => {
    const wanted = find.value.trim().toLowerCase();
    found = [];
    nodes.forEach((node, number) => {
      const text = wanted && [node[NAME], node[OP], labels[node[KEY]], ...node[LINES]].join("\n").toLowerCase();
      const hit = (!wanted || text.includes(wanted)) && (only === null || node[KEY] === only);
      if (hit) found.push(number);
      const active = wanted || only !== null;
      shapes[number].classList.toggle("dim", Boolean(active) && !hit);
      shapes[number].classList.toggle("hit", Boolean(wanted) && hit);
    });
    place = -1;
    hits.textContent = wanted ? `${found.length} found` : "";
  };
  const next = (step) => {
    if (!found.length) return;
    place = (place + step + found.length) % found.length;
    hits.textContent = `${place + 1} of ${found.length}`;
    choose(found[place]);
    show(found[place]);
  };
  find.addEventListener("input", mark);
  find.addEventListener("keydown", (event) => {
    if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") { find.value = ""; mark(); svg.focus(); }
  });
  for (const button of document.querySelectorAll(".pick")) {
    button.addEventListener("click", () => {
      const key = Number(button.dataset.key);
      only = only === key ? null : key;
      for (const other of document.querySelectorAll(".pick")) other.setAttribute("aria-pressed", String(Number(other.dataset.key) === only));
      mark();
    });
  }

  // Keys: along the tensors, and to the neighbours in the same row.
  const beside = (number, step) => {
    const row = nodes.map((node, n) => n).filter((n) => Math.abs(nodes[n][Y] - nodes[number][Y]) < box / 2).sort((a, b) => nodes[a][X] - nodes[b][X]);
    return row[row.indexOf(number) + step];
  };
  const walk = {
    ArrowDown: (n) => edges[from[n][0]]?.[1],
    ArrowUp: (n) => edges[into[n][0]]?.[0],
    ArrowLeft: (n) => beside(n, -1),
    ArrowRight: (n) => beside(n, 1),
  };
  svg.addEventListener("keydown", (event) => {
    if (walk[event.key]) {
      const to = chosen === null ? 0 : walk[event.key](chosen);
      if (to !== undefined && nodes.length) { choose(to); show(to); }
    } else if (event.key === "+" || event.key === "=") zoom(1.3);
    else if (event.key === "-") zoom(1 / 1.3);
    else if (event.key === "0") fit();
    else if (event.key === "/") find.focus();
    else if (event.key === "Escape") choose(null);
    else return;
    event.preventDefault();
  });
  document.getElementById("in").addEventListener("click", () => zoom(1.4));
  document.getElementById("out").addEventListener("click", () => zoom(1 / 1.4));
  document.getElementById("fit").addEventListener("click", fit);

  // The same as a table, made when it is asked for.
  const list = document.getElementById("list");
  list.addEventListener("toggle", () => {
    const body = list.querySelector("tbody");
    if (!list.open || body.rows.length) return;
    nodes.forEach((node, number) => {
      const row = body.insertRow();
      for (const text of [number + 1, node[NAME], node[OP], labels[node[KEY]], node[UNDER]]) row.insertCell().textContent = text;
      row.addEventListener("click", () => { choose(number); show(number); svg.scrollIntoView({ block: "center" }); });
    });
  });
  window.addEventListener("beforeprint", fit);
  fit();
})();
