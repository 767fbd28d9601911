// Puts the page together: session, transfer, library, and what shows them.

import { render } from "preact";
import { Library } from "./library.ts";
import { Api } from "./transfer/api.ts";
import { Queue } from "./transfer/queue.ts";
import { Session } from "./transfer/session.ts";
import { App } from "./ui/App.tsx";
import { Ticker } from "./ui/ticker.ts";
import "./style.css";

const told = (name: string) => document.querySelector<HTMLMetaElement>(`meta[name="partwise-${name}"]`)!.content;
const prefix = told("api");
const ticker = new Ticker();
const session = new Session("livez", `${prefix}status/`, told("sign-in") === "token", ticker.tick);
const api = new Api(prefix, session);
const queue = new Queue(api, ticker.tick);
const library = new Library(api, ticker.tick);
queue.unfinished = () => library.unfinished;
session.onOther = () => {
  queue.dismissAll();
  library.clear();
};
library.refresh();
render(<App queue={queue} library={library} session={session} ticker={ticker} />, document.querySelector("#app")!);
