// Tables that sort by a click on a heading: numbers downwards first, names upwards.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if ("unsorted" in head.dataset) return;
    const isText = "sortText" in head.dataset;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const upwards = head.ariaSort ? head.ariaSort === "descending" : isText;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      const valueOf = (row) => {
        const text = row.cells[column].textContent.trim();
        return isText ? text : Number(text.replace(/[\u202f±+]/g, "").replace("−", "-"));
      };
      const rows = [...body.rows].map((row) => [valueOf(row), row]);
      rows.sort(([one], [two]) => (one < two ? -1 : one > two ? 1 : 0) * (upwards ? 1 : -1));
      body.append(...rows.map((entry) => entry[1]));
    });
  });
}
