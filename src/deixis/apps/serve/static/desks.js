// Tabs that fill in a csv beside the pictures: how to get them, where the server was started without, and what they are.
import { make } from "./talk.js";

const DESKS = {
  label: {
    none: "Nothing to label into", why: "To label pictures here, start the server with a csv that labels are saved in:",
    how: "deixis serve INDEX --labels labels.csv", opens: async host => new (await import("./label.js")).Labels(host),
  },
  captions: {
    none: "No drafts of captions", why: "To look through drafts here, write some and start the server with their csv:",
    how: "deixis caption DATA --out captions.csv\ndeixis serve INDEX --captions captions.csv",
    opens: async host => new (await import("./captions.js")).Captions(host),
  },
  tags: {
    none: "No words", why: "To see what tags go with, and which ones pictures may lack, learn it and start the server with its folder:",
    how: "deixis words DATA --out my-words\ndeixis serve INDEX --words my-words",
    opens: async host => new (await import("./words.js")).WordsTab(host),
  },
};

/** A tab in its place; where there is no csv, how to get one. */
export function open(tab, host, there) {
  const { none, why, how, opens } = DESKS[tab];
  if (there) return opens(host);
  host.replaceChildren(make("h2", {}, none), make("p", {}, why), make("pre", { tabIndex: 0 }, how));
  return { show() {} };
}
