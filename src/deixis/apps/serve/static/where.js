// Where things are: boxes over the large picture that light up together with their phrases.
import { COLOURS, fill, grounded, place } from "./hits.js";
import { Lookup } from "./lookup.js";
import { $, make } from "./talk.js";

/** How sure a box is, what the detector calls it, and whether its look alone speaks for it. */
const how = ({ score, label, source, phrase }) => [score.toFixed(2), phrase.includes(label) ? "" : label,
  source === "crop" ? "by its look" : ""].filter(Boolean).join(", ");

export class Where extends Lookup {
  constructor() { super("where"); }

  look(text, signal) { return grounded(this.item, [text], signal); }

  clear() { $("view-boxes").setAttribute("hidden", ""); }

  draw({ boxes, notes }) {
    const svg = $("view-boxes");
    fill(svg, boxes, this.item.full);
    svg.removeAttribute("hidden");
    const lines = boxes.map((each, index) => {
      const button = make("button", {
        type: "button", className: `box-line colour-${each.colour % COLOURS}`, "aria-pressed": "false",
        "aria-label": `${each.phrase}, score ${each.score.toFixed(2)}: ${place(each.box)}`,
      }, make("i", { "aria-hidden": "true" }), make("bdi", {}, each.phrase), make("small", {}, how(each)));
      this.#light(svg.children[index], button);
      return make("li", {}, button);
    });
    const none = lines.length || notes.length ? [] : [make("p", {}, "Nothing was found.")];
    return [...notes.map(note => make("p", {}, note)), ...none,
      ...(lines.length ? [make("ul", { "aria-label": "What the boxes show" }, ...lines)] : [])];
  }

  /** A box and its line are lit together: while either is pointed at, and for good once one is pressed. */
  #light(box, button) {
    const lit = on => {
      for (const part of [box, button]) part.classList.toggle("lit", on || button.getAttribute("aria-pressed") === "true");
    };
    const press = () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      lit(true);
    };
    for (const part of [box, button]) {
      part.addEventListener("pointerenter", () => lit(true));
      part.addEventListener("pointerleave", () => lit(false));
      part.addEventListener("click", press);
    }
    button.addEventListener("focus", () => lit(true));
    button.addEventListener("blur", () => lit(false));
  }
}
