// The class of each pixel: colours over the large picture, with a legend of names and shares.
import { Lookup } from "./lookup.js";
import { $, call, make } from "./talk.js";

const percent = share => (share > 0 && share < 0.005 ? "< 1 %" : `${Math.round(100 * share)} %`);

export class Segment extends Lookup {
  constructor() { super("segment"); }

  look(text, signal) {
    const classes = text.split(",").map(name => name.trim()).filter(Boolean);
    return call("segment", { body: { row: this.item.row, classes }, signal });
  }

  clear() { $("view-layer").hidden = true; }

  draw({ classes, notes, layer }) {
    const there = classes.filter(each => each.share > 0).sort((one, other) => other.share - one.share);
    const missing = classes.filter(each => !there.includes(each));
    const words = there.map(each => `${each.name} ${percent(each.share)}`).join(", ");
    Object.assign($("view-layer"), { src: layer, hidden: there.length === 0, alt: `Coloured by class: ${words}` });
    const line = (colour, name, share) => {
      const patch = make("i", { "aria-hidden": "true" });
      if (colour) patch.style.background = colour;
      return make("li", { className: "box-line" }, patch, make("bdi", {}, name), make("small", {}, percent(share)));
    };
    const rest = 1 - there.reduce((sum, each) => sum + each.share, 0);
    const lines = [...there.map(each => line(each.colour, each.name, each.share)), line("", "everything else", rest)];
    const none = missing.map(each => make("p", {}, "Nothing here is ", make("bdi", {}, each.name), "."));
    return [...none, ...(there.length ? [make("ul", { className: "legend", "aria-label": "Shares of the picture" }, ...lines)] : []),
      ...notes.map(note => make("p", { className: "soft" }, note))];
  }
}
