// A click on a column header sorts a table; a search field hides the rows that do not contain all of its words.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const given = [...body.rows];
  table.querySelectorAll("th").forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const numbers = head.classList.contains("number");
      // first click: numbers descending, words ascending; second click: reversed; third click: original order
      const order = numbers ? ["descending", "ascending", null] : ["ascending", "descending", null];
      const next = order[(order.indexOf(before) + 1) % 3];
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      if (next === null) {
        body.append(...given);
        return;
      }
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const words = new Intl.Collator(undefined, { numeric: true });
      const rows = given.map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        const missing = (value) => value === "" || value === "-";
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        const [x, y] = [Number(a), Number(b)];
        return sign * (Number.isNaN(x) || Number.isNaN(y) ? words.compare(a, b) : x - y);
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
for (const field of document.querySelectorAll("input[type=search]")) {
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase().split(/\s+/);
    for (const row of document.getElementById(field.getAttribute("aria-controls")).tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
    }
  });
}
