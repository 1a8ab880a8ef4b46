// Asks for the state every few seconds while the page is seen, and shows it. Whatever comes from messages is set as
// text, never as markup.

import { highest, runLine, spark, waitLine } from "./draw.js";

const $ = (id) => document.getElementById(id);
let state = null, chosen = "", timer = 0, asked = 0, failing = 0, acting = false;

// -- words

const limitText = (limit) => (limit === null ? "none" : String(limit));

function seconds(value) {
  if (value === null) return "–";
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${value.toFixed(0)} s`;
  if (value < 7200) return `${(value / 60).toFixed(0)} min`;
  return value < 172800 ? `${(value / 3600).toFixed(0)} h` : `${(value / 86400).toFixed(0)} d`;
}

const clock = (time) => new Date(time * 1000).toLocaleTimeString();
const rateText = (rate) => (rate === null ? "–" : rate === 0 ? "0" : rate < 1 ? `${(rate * 60).toFixed(1)}/min` : `${rate.toFixed(1)}/s`);

function sourceText(status) {
  if (!status.override) return { task: "from the code", default: "the default" }[status.source] ?? `from ${status.source}`;
  const until = status.override.until ? ` until ${clock(status.override.until)}` : "";
  return `set by ${status.override.by || "somebody"}${until}, else ${limitText(status.code_limit)}`;
}

function marksOf(status) {
  const marks = [];
  const noted = (note) => (note ? `: ${note}` : "");
  if (status.pause) marks.push(`paused by ${status.pause.by || "somebody"}${noted(status.pause.note)}`);
  if (!status.workers) marks.push("no worker serves it");
  if (status.override) marks.push(`limit ${sourceText(status)}${noted(status.override.note)}`);
  return marks;
}

// -- drawing, which leaves alone what stays as it is: the focus, a selection

function text(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function show(element, yes) {
  element.hidden = !yes;
}

/** Give a parent one child per item: what is gone goes, what is new comes in order, nothing is moved. */
function sync(parent, items, keyOf, make, update) {
  const wanted = new Set(items.map(keyOf)), there = new Map();
  for (const child of [...parent.children]) {
    if (wanted.has(child.key)) there.set(child.key, child);
    else child.remove();
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = there.get(key);
    if (!child) {
      child = make(item);
      child.key = key;
    }
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
    update(child, item);
  }
}

function row(names) {
  const made = document.createElement("tr");
  made.setAttribute("role", "row");
  for (const [name, kind] of names) {
    const cell = made.insertCell();
    cell.setAttribute("role", "cell");
    if (name) cell.dataset.name = name;
    if (kind) cell.className = kind;
  }
  return made;
}

function marks(list, words) {
  sync(list, words, (mark) => mark, () => document.createElement("li"), text);
}

/** Draw a picture anew where it would be another. */
function draw(place, line, make, words) {
  const drawn = JSON.stringify([line, words]);
  if (place.drawn === drawn) return;
  place.drawn = drawn;
  place.replaceChildren(make(line, words));
}

function idRow() {
  const made = row([["", ""], ["Limit", "number"], ["Running", ""], ["Waiting", "number"], ["Oldest", "number"],
    ["Rate", "number"], ["", ""]]);
  const link = document.createElement("a"), list = document.createElement("ul");
  list.className = "marks";
  made.cells[0].append(link, list);
  const bar = document.createElement("span"), count = document.createElement("span");
  bar.className = "bar";
  bar.append(document.createElement("i"));
  made.cells[2].append(bar, count);
  const place = document.createElement("div");
  place.className = "spark";
  made.cells[6].append(place);
  return made;
}

function drawId(made, status) {
  const [name, limit, running, waiting, oldest, rate, line] = made.cells;
  const link = name.firstElementChild;
  text(link, status.id);
  link.href = `#id=${encodeURIComponent(status.id)}`;
  if (status.id === chosen) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
  made.className = status.id === chosen ? "chosen" : "";
  marks(name.lastElementChild, marksOf(status));
  text(limit, limitText(status.limit));
  const part = status.limit === null ? (status.running ? 0.5 : 0) : Math.min(1, status.running / status.limit);
  running.querySelector("i").style.width = `${Math.round(part * 100)}%`;
  text(running.lastElementChild, status.limit === null ? `${status.running}` : `${status.running} of ${status.limit}`);
  text(waiting, String(status.waiting));
  text(oldest, seconds(status.oldest_wait));
  text(rate, rateText(status.rate));
  const seen = `at most ${highest(status.line, 0)} running and ${highest(status.line, 1)} waiting`;
  draw(line.firstElementChild, status.line, spark, `Last 10 minutes: ${seen}`);
}

function drawList() {
  const ids = [...state.ids].sort((one, other) => (one.id < other.id ? -1 : 1));
  text($("title"), `${state.title}: concurrency limits`);
  document.title = $("title").textContent;
  text($("summary"), `${state.total} ids, ${state.running} running, ${state.waiting} waiting`);
  text($("updated"), state.trouble ? "" : `Live, updated ${clock(state.time)}`);
  text($("user"), state.user ? `${state.user}${state.control ? ", may change limits" : ", looks only"}` : "");
  const searched = $("words").value.trim() !== "";
  const more = state.found > ids.length ? `, the ${ids.length} busiest are shown: search for others` : "";
  text($("found"), searched || more ? `${state.found} of ${state.total} ids${more}` : "");
  sync($("ids"), ids, (status) => status.id, idRow, drawId);
  show($("list"), ids.length);
  show($("none"), !ids.length);
  text($("none"), searched ? "No id is called so." : state.trouble ? "Nothing was seen yet." : "There are no ids yet.");
}

function drawOne() {
  const one = state.id && state.id.id === chosen ? state.id : null;
  show($("one"), chosen !== "");
  $("main").classList.toggle("open", chosen !== "");
  text($("name"), chosen);
  show($("controls"), one && state.control);
  if (!one) {
    for (const id of ["facts", "run-text", "wait-text"]) text($(id), "");
    return;
  }
  const workers = one.workers === 1 ? "1 worker serves it" : `${one.workers} workers serve it`;
  text($("facts"), `Limit ${limitText(one.limit)} (${sourceText(one)}). ${one.running} running, ${one.waiting} waiting, ` +
    `${rateText(one.rate)} leave the queue; ${workers}.`);
  marks($("marks"), marksOf(one));
  show($("reset"), one.override);
  text($("pause"), one.pause ? "Resume…" : "Pause…");
  const line = fromFirst(one.line), ran = `Running: ${one.running} now, at most ${highest(line, 0)}; dashed: the limit`;
  const waited = `Waiting: ${one.waiting} now, at most ${highest(line, 1)}`;
  text($("run-text"), ran);
  text($("wait-text"), waited);
  draw($("run-line"), line, runLine, ran);
  draw($("wait-line"), line, waitLine, waited);
  const long = (line.length / one.line.length) * state.span;
  text($("since"), long < 120 ? `${Math.round(long)} seconds ago` : `${Math.round(long / 60)} minutes ago`);
  drawTasks(one);
}

/** The part of a line in which somebody looked, and a minute at least. */
function fromFirst(line) {
  const first = line.findIndex((point) => point !== null);
  return line.slice(-Math.max(line.length - (first < 0 ? line.length : first), line.length / 10));
}

function drawTasks(one) {
  const held = () => row([["", ""], ["Worker", ""], ["For", "number"], ["Worker heard", "number"]]);
  sync($("holder-rows"), one.holders, (holder) => `${holder.token} ${holder.task}`, held, (made, holder) => {
    const heard = holder.lease_age === null ? "its lease is over" : `${seconds(holder.lease_age)} ago`;
    const words = [holder.task || "(being fetched)", holder.worker || "(gone)", seconds(holder.age), heard];
    words.forEach((word, at) => text(made.cells[at], word));
  });
  show($("holders"), one.holders.length);
  show($("nobody"), !one.holders.length && !one.away);
  show($("away"), one.away);
  const away = one.away === 1 ? "1 task runs without its slot, which it has given back for a while"
    : `${one.away} tasks run without their slots, which they have given back for a while`;
  const wait = one.returning === 1 ? "; 1 waits to have its slot again" : `; ${one.returning} wait to have theirs again`;
  text($("away"), `${away}${one.returning ? wait : ""}.`);
  show($("more-holders"), one.more_holders);
  text($("more-holders"), `and ${one.more_holders} more`);
  const placed = () => row([["Rank", "number"], ["", ""], ["For", "number"], ["Retries", "number"]]);
  sync($("waiting-rows"), one.head, (place) => `${place.task} ${place.retries}`, placed, (made, place) => {
    const words = [String(place.rank), place.task, seconds(place.age), String(place.retries)];
    words.forEach((word, at) => text(made.cells[at], word));
  });
  show($("waiting"), one.head.length);
  show($("no-queue"), !one.waiting);
  show($("more-waiting"), one.more_waiting);
  text($("more-waiting"), `and ${one.more_waiting} more`);
}

function trouble(words) {
  text($("trouble"), words);
  show($("trouble"), words !== "");
  document.body.classList.toggle("old", words !== "");
}

// -- asking

async function answerOf(path, options = {}) {
  // Not relative to the page's own address, which may have a password in it: fetch refuses that.
  const address = new URL(path, location.origin + location.pathname);
  const answer = await fetch(address, { ...options, cache: "no-store", signal: AbortSignal.timeout(15000) });
  const told = await answer.json().catch(() => ({ error: `the server says ${answer.status}` }));
  return { ok: answer.ok, status: answer.status, told };
}

async function look() {
  clearTimeout(timer);
  const number = ++asked;
  try {
    const query = new URLSearchParams({ q: $("words").value, id: chosen });
    const { ok, status, told } = await answerOf(`state?${query}`);
    if (number !== asked) return; // something else was asked for meanwhile
    if (ok) seen(told);
    else if (status === 404 && chosen) unknown(told.error);
    else trouble(`You cannot look any more: ${told.error}. Load the page again.`);
    failing = 0;
  } catch (error) {
    if (number !== asked) return;
    failing = failing || Date.now() / 1000;
    const old = state ? ` What you see is as it was at ${clock(state.time)}.` : "";
    trouble(`This page's server does not answer since ${clock(failing)}.${old}`);
  }
  if (!document.hidden) timer = setTimeout(look, (state?.interval ?? 2) * 1000);
}

function seen(told) {
  if (told.trouble) {
    const old = told.trouble.seen ? ` What you see is as it was at ${clock(told.trouble.seen)}.` : "";
    trouble(`Redis, which holds the slots, does not answer since ${clock(told.trouble.since)} (${told.trouble.said}).${old}`);
  } else trouble("");
  const before = state?.id;
  state = told;
  drawList();
  drawOne();
  if (!acting) announce(before, told.id);
}

/** Say what somebody else has changed of the id that is looked at. */
function announce(before, now) {
  if (!before || !now || before.id !== now.id) return;
  if (!before.pause !== !now.pause) say(`${now.id} is ${now.pause ? "paused" : "resumed"}`);
  else if (before.limit !== now.limit) say(`${now.id}: the limit is ${limitText(now.limit)} now`);
}

function unknown(words) {
  const id = chosen;
  choose("");
  history.replaceState(null, "", location.pathname);
  say(`There is no id ${id}: ${words}`);
}

function say(words) {
  text($("said"), words);
}

// -- choosing

function choose(id) {
  if (id === chosen) return;
  const before = chosen;
  chosen = id;
  show($("refused"), false);
  for (const field of ["limit", "note", "expires"]) $(field).value = "";
  for (const rows of ["holder-rows", "waiting-rows"]) $(rows).replaceChildren();
  if (!state) return;
  drawOne();
  drawList();
  if (id) {
    scrollTo(0, 0);
    $("name").focus();
  } else {
    const link = [...$("ids").rows].find((made) => made.key === before);
    (link?.querySelector("a") ?? $("words")).focus();
  }
  look();
}

function fromAddress() {
  try {
    if (location.hash.startsWith("#id=")) choose(decodeURIComponent(location.hash.slice(4)));
    else if (!location.hash) choose("");
  } catch {
    choose(""); // it was written by hand
  }
}

// -- changing

const cookie = () => document.cookie.split("; ").find((each) => each.startsWith("concurrency_csrf="))?.split("=")[1] ?? "";

function sure(question, what, button) {
  const dialog = $("confirm");
  text($("question"), question);
  text($("what"), what);
  text($("yes"), button);
  dialog.showModal();
  return new Promise((resolve) => {
    const end = (answer) => () => {
      dialog.close();
      resolve(answer);
    };
    $("yes").onclick = end(true);
    $("no").onclick = end(false);
    dialog.oncancel = () => resolve(false);
  });
}

async function change(command, said, done) {
  acting = true;
  show($("refused"), false);
  say("");
  try {
    const headers = { "Content-Type": "application/json", "X-CSRF-Token": cookie() };
    const { ok, told } = await answerOf(command, { method: "POST", headers, body: JSON.stringify(said) });
    if (ok) {
      say(done(told));
      $("limit").value = $("note").value = $("expires").value = "";
    } else refuse(told.error);
  } catch {
    refuse("This page's server did not answer: the change may or may not have been made.");
  }
  await look();
  acting = false;
}

function refuse(words) {
  text($("refused"), words);
  show($("refused"), true);
}

async function setLimit(event) {
  event.preventDefault();
  const id = chosen, now = state.id, limit = $("limit").value.trim(), note = $("note").value;
  const expires = $("expires").value ? Number($("expires").value) : null;
  // What can only be refused is sent as it is: the server says what is wrong with it.
  if (/^(none|0*[1-9][0-9]*)$/i.test(limit)) {
    const [from, to] = [limitText(now.limit), limit.toLowerCase() === "none" ? "none" : String(Number(limit))];
    const long = expires ? ` for ${$("expires").selectedOptions[0].text}` : "";
    const more = now.limit !== null && to !== "none" && Number(to) < now.running
      ? `${now.running} tasks run and go on; nothing new starts until fewer than ${to} do.` : "It holds for all workers, at once.";
    if (!(await sure(`Set the limit of ${id}?`, `From ${from} to ${to}${long}. ${more}`, `Set limit to ${to}`))) return;
  }
  await change("set", { id, limit, expires, note }, (told) => `${id}: the limit is ${limitText(told.limit)} now`);
}

async function reset() {
  const id = chosen, now = state.id, code = limitText(now.code_limit);
  if (!(await sure(`Reset the limit of ${id}?`, `From ${limitText(now.limit)} back to ${code}.`, `Reset to ${code}`))) return;
  await change("reset", { id }, (told) => `${id}: the limit is ${limitText(told.limit)} now`);
}

async function pause() {
  const id = chosen, now = state.id, note = $("note").value;
  const [verb, what] = now.pause
    ? ["Resume", `${now.waiting} tasks wait, and start as the limit of ${limitText(now.limit)} allows.`]
    : ["Pause", `No task of it starts until it is resumed. ${now.running} running tasks go on, ${now.waiting} wait.`];
  if (!(await sure(`${verb} ${id}?`, what, `${verb} ${id}`))) return;
  await change(verb.toLowerCase(), { id, note }, () => `${id} is ${verb.toLowerCase()}d`);
}

// -- begin

let typing = 0;
$("words").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(look, 150);
});
$("close").addEventListener("click", () => {
  history.replaceState(null, "", location.pathname);
  choose("");
});
$("change").addEventListener("submit", setLimit);
$("reset").addEventListener("click", reset);
$("pause").addEventListener("click", pause);
addEventListener("hashchange", fromAddress);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
fromAddress();
look();
