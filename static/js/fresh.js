// Renews the page by itself: while it is in sight, it asks each minute whether the server would show other figures.

const EVERY = 60_000;
const line = document.getElementById("fresh");
const main = document.getElementById("main");
const clock = (at) => new Date(at).toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
let checkedAt = Date.now();
const loaded = () => fetch(location.href, { cache: "force-cache" }).then((its) => its.headers.get("ETag"), () => null);
let shown = new Promise((known) => setTimeout(() => known(loaded()), 3_000)); // its tag, asked for once the page is quiet

/** One of the sentences that the line holds. */
function say(sentence) {
  const text = line.dataset[sentence].replace("{time}", clock(checkedAt));
  line.classList.toggle("warn", sentence !== "checked");
  line.ariaLive = sentence === "checked" ? "off" : "polite"; // nobody wants to hear the time each minute
  if (line.textContent !== text) line.textContent = text;
}

const scriptsOf = (page) => [...page.querySelectorAll("script[src], link[rel=stylesheet]")].map((its) => its.src || its.href).join();
const within = (selector) => [...main.querySelectorAll(selector)];

/** Puts the figures of another answer in place of those shown; what is open or has the focus stays so. */
function show(text) {
  const next = new DOMParser().parseFromString(text, "text/html");
  if (scriptsOf(next) !== scriptsOf(document)) return location.reload();
  const open = within("details").map((details) => details.open);
  const focused = within("a, button, summary, [tabindex]").indexOf(document.activeElement);
  main.replaceChildren(...next.getElementById("main").childNodes);
  document.title = next.title;
  within("details").forEach((details, index) => (details.open = open[index] ?? details.open));
  within("a, button, summary, [tabindex]")[focused]?.focus({ preventScroll: true });
  document.dispatchEvent(new Event("renewed"));
}

async function check() {
  let answer, text;
  try {
    shown = await shown; // since before another tab may have brought its browser a later page
    answer = await fetch(location.href, { cache: "no-cache" }); // the browser adds If-None-Match
    text = await answer.text();
  } catch {
    return say("unreached");
  }
  if (answer.redirected) return say("signedout");
  if (!answer.ok) return say("failed");
  const tag = answer.headers.get("ETag");
  if (tag !== shown && document.activeElement.matches("main :is(input, select)")) return say("checked"); // then, not now: who types keeps the page
  checkedAt = Date.now();
  say("checked");
  if (tag === shown) return;
  shown = tag;
  show(text);
}

const checkIfDue = () => document.visibilityState === "visible" && Date.now() - checkedAt >= EVERY && check();

setTimeout(say, 0, "checked"); // once the charts in sight are drawn
setInterval(() => document.visibilityState === "visible" && check(), EVERY);
document.addEventListener("visibilitychange", checkIfDue);
