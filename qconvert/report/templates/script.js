"use strict";
(() => {
  const tip = document.getElementById("tip");

  const hide = () => { tip.hidden = true; };
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(x - tip.offsetWidth / 2, room)) + "px";
    tip.style.top = Math.max(window.scrollY + 4, y - tip.offsetHeight - 14) + "px";
  };

  // A curve whose points are the rows of a table: point for the name, click for the row.
  for (const graph of document.querySelectorAll("[data-rows]")) {
    const svg = graph.querySelector("svg");
    const dots = [...graph.querySelectorAll(".dot")];
    let on = null;
    const row = (dot) => document.getElementById(graph.dataset.rows + "-" + dot.dataset.n);
    const choose = (dot) => {
      if (on) on.classList.remove("on");
      on = dot;
      dot.classList.add("on");
      const cells = [...row(dot).cells].map((cell) => cell.textContent.trim());
      const box = svg.getBoundingClientRect();
      const text = cells[1] + "\n" + [cells[2], cells[3], cells[4] && "lost here " + cells[4]].filter(Boolean).join(" · ");
      show(text, box.left + window.scrollX + box.width * dot.dataset.x / 100, box.top + window.scrollY + box.height * dot.dataset.y / 100);
    };
    const open = (dot) => {
      const found = row(dot);
      found.closest("details").open = true;
      for (const other of document.querySelectorAll("tr.hit")) other.classList.remove("hit");
      found.hidden = false;
      found.classList.add("hit");
      found.scrollIntoView({ block: "center" });
      hide();
    };
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const x = 100 * (event.clientX - box.left) / box.width;
      return dots.reduce((a, b) => Math.abs(a.dataset.x - x) <= Math.abs(b.dataset.x - x) ? a : b);
    };
    graph.addEventListener("pointermove", (event) => choose(nearest(event)));
    graph.addEventListener("pointerleave", hide);
    graph.addEventListener("click", (event) => {
      const dot = nearest(event);
      choose(dot);
      open(dot);
    });
    graph.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) choose(dots[Math.min(Math.max(dots.indexOf(on) + step, 0), dots.length - 1)]);
      else if (event.key === "Enter" && on) open(on);
      else return;
      event.preventDefault();
    });
    graph.addEventListener("blur", hide);
  }

  for (const cell of document.querySelectorAll("[data-tip]")) {
    const point = () => {
      const box = cell.getBoundingClientRect();
      show(cell.dataset.tip, box.left + window.scrollX + box.width / 2, box.top + window.scrollY);
    };
    cell.addEventListener("pointerenter", point);
    cell.addEventListener("click", point);
    cell.addEventListener("pointerleave", hide);
  }

  // Tables: click a heading to sort, type to filter.
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.trim();
    const number = text === "inf" ? Infinity : text === "" ? NaN : Number(text);
    return Number.isNaN(number) ? text : number;
  };
  const order = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].sort((a, b) => order(value(a, column), value(b, column)) * (down ? -1 : 1));
      table.tBodies[0].append(...rows);
    }));
  }
  for (const filter of document.querySelectorAll(".filter")) {
    const rows = filter.parentElement.querySelectorAll("tbody tr");
    filter.addEventListener("input", () => {
      const wanted = filter.value.toLowerCase();
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
  }

  // On paper everything is open.
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const each of closed) each.open = true;
  });
  window.addEventListener("afterprint", () => { for (const each of closed) each.open = false; });
})();
