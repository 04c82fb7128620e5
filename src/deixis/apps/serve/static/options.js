// How results are shown: how large, sorted by what, and with which columns; and what is done with those selected.
import { $, counted, make, remembered } from "./talk.js";

const MOST = 1000; // pictures that one file is made of
const COLUMNS = 6;

export class Options {
  #run = { fields: [], shown: [] };

  /** `change(parts)` is told what the query becomes, `look({ size, columns })` what the pictures look like. */
  constructor(query, change, look) {
    Object.assign(this, { query, change, look });
    $("options").addEventListener("click", () => {
      $("option-panel").hidden = !$("option-panel").hidden;
      $("options").setAttribute("aria-expanded", String(!$("option-panel").hidden));
    });
    $("size").value = remembered("size") || 190;
    $("size").addEventListener("input", () => {
      remembered("size", $("size").value);
      look({ size: Number($("size").value) });
    });
    look({ size: Number($("size").value) });
    $("sort").addEventListener("change", () => change({ sort: $("sort").value }));
    $("turn").addEventListener("click", () => {
      const now = query().sort;
      change({ sort: now.startsWith("-") ? now.slice(1) : `-${now}` });
    });
    $("column").addEventListener("change", () => {
      if ($("column").value) change({ show: [...this.columns, $("column").value] });
    });
  }

  /** The columns that stand under each picture. */
  get columns() { return this.query().show ?? this.#run.shown; }

  /** What can be shown and sorted by is known once the run is. */
  knows(run) {
    this.#run = run;
    this.draw();
  }

  draw() {
    const sort = this.query().sort, name = sort.replace(/^-/, ""), down = sort.startsWith("-");
    const options = (names, first) => [make("option", { value: "" }, first),
      ...names.map(one => make("option", { value: one }, one))];
    const known = name && !this.#run.fields.includes(name) ? [...this.#run.fields, name] : this.#run.fields;
    $("sort").replaceChildren(...options(known, "best match"));
    $("sort").value = name;
    $("turn").hidden = !name;
    $("turn").textContent = down ? "high to low" : "low to high";
    $("sort").parentElement.hidden = known.length === 0;
    const others = this.#run.fields.filter(one => !this.columns.includes(one));
    $("column").replaceChildren(...options(others, "add a column…"));
    $("column").parentElement.hidden = this.#run.fields.length === 0;
    $("column").disabled = others.length === 0 || this.columns.length >= COLUMNS;
    $("columns").replaceChildren(...this.columns.map(one => make("li", { className: "chip" }, make("bdi", {}, one),
      make("button", {
        type: "button", className: "off", "aria-label": `Do not show ${one}`,
        onclick: () => this.change({ show: this.columns.filter(other => other !== one) }),
      }, "✕"))));
    this.look({ columns: this.columns });
  }
}

/** A path as one line: one with a line break in it is written as a shell would read it. */
const quoted = path => (/[\n\r]/.test(path)
  ? `$'${path.replaceAll(/[\\']/g, "\\$&").replaceAll("\n", "\\n").replaceAll("\r", "\\r")}'` : path);

/** Copies words; where a browser allows that to secure addresses only, by the old way. */
export async function copied(words) {
  try {
    await navigator.clipboard.writeText(words);
    return true;
  } catch {
    const field = make("textarea", { value: words, readOnly: true, className: "aside" });
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

export class Selection {
  /** What can be done with the pictures that are selected in `grid`. */
  constructor(grid) {
    this.grid = grid;
    $("mark-all").addEventListener("click", () => grid.markAll(true));
    $("mark-none").addEventListener("click", () => grid.markAll(false));
    $("mark-paths").addEventListener("click", () => this.#copy());
    document.addEventListener("keydown", event => {
      const here = !event.target.matches?.("input:not(.mark), select, textarea") && !document.querySelector("dialog[open]");
      if (event.key === "Escape" && here && grid.selected.size) grid.markAll(false);
    });
  }

  draw() {
    const { selected } = this.grid, rows = [...selected.keys()], many = rows.length > MOST;
    $("selection").hidden = rows.length === 0;
    document.body.classList.toggle("selecting", rows.length > 0);
    $("marks").textContent = many ? `${this.grid.marks}; files are made of up to ${counted(MOST)}` : this.grid.marks;
    $("mark-paths").textContent = "Copy paths";
    for (const kind of ["csv", "zip"]) {
      const link = $(`mark-${kind}`);
      if (many) link.removeAttribute("href");
      else link.href = `export.${kind}?rows=${rows.join(",")}`;
      link.setAttribute("aria-disabled", String(many));
    }
  }

  async #copy() {
    const paths = [...this.grid.selected.values()].map(item => quoted(item.place));
    $("mark-paths").textContent = await copied(paths.join("\n")) ? "Copied" : "The browser does not allow it";
  }
}
