"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const names = {1: "Sketch", 2: "Painting", 3: "Poster"};
const seconds = value => value < 9.5 ? value.toFixed(value < 1 ? 1 : 0) : String(Math.round(value));

$("#form").addEventListener("submit", async event => {
  event.preventDefault();
  const button = event.submitter?.value ?? "1", prompt = $("#prompt").value;
  const item = $("#image").content.cloneNode(true).firstElementChild;
  item.classList.add("sent");
  $(".title", item).textContent = `${names[button]}: ${prompt}`;
  $("#images").prepend(item);
  try {
    const answer = await fetch(`press/${button}`, {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({prompt}),
    });
    if (!answer.ok) throw new Error(await answer.text());
    follow(item, (await answer.json()).id, prompt);
  } catch (error) {
    failed(item, error.message);
  }
});

function follow(item, id, prompt) {
  const events = new EventSource(`events/${id}`);
  let timer = 0;
  item.dataset.task = id;
  events.onmessage = ({data}) => {
    const told = JSON.parse(data), since = performance.now();
    const left = expected => ["low", "likely", "high"].map(
      name => Math.max(0, expected[name] - (performance.now() - since) / 1000));
    const show = () => {
      if (told.state === "waiting") {
        const [low, likely, high] = told.starts_in ? left(told.starts_in) : [];
        when(item, told.starts_in ? `It starts in about ${seconds(likely)} s` +
          (high - low > 1 ? ` (${seconds(low)} to ${seconds(high)} s)` : "") + "." :
          "When it starts is known once such an image was made.");
      } else if (told.state === "running") {
        when(item, told.ends_in ? `Done in about ${seconds(left(told.ends_in)[1])} s.` : "");
      }
    };
    clearInterval(timer);
    item.className = `image ${told.state}`;
    if (told.state === "waiting") {
      place(item, told.rank === 0 ? "You are next." : `${told.rank} ${told.rank === 1 ? "image is" : "images are"} ahead of you.`);
      item.dataset.rank = told.rank;
      item.dataset.expected = told.starts_in ? told.starts_in.likely : "";
    } else if (told.state === "running") {
      place(item, "A GPU makes it now.");
    } else if (told.state === "done") {
      events.close();
      place(item, told.picture ? `Here it is: ${told.picture}` : "It failed.");
      when(item, "");
      $("progress", item).remove();
      if (told.picture) $(".picture", item).append(picture(prompt));
      return;
    }
    if (told.waiting !== null) {
      $("#queue").textContent = `${told.running} of ${told.gpus} GPUs work, ${told.waiting} images wait.`;
    }
    show();
    timer = setInterval(show, 250);
  };
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) failed(item, "the server is gone");
  };
}

const place = (item, text) => { $(".place", item).textContent = text; };
const when = (item, text) => { $(".when", item).textContent = text; };

function failed(item, text) {
  item.className = "image failed";
  place(item, `It did not work: ${text}`);
  $("progress", item)?.remove();
}

/** What a GPU would have made: shapes and colours out of the words. */
function picture(words) {
  let seed = 7;
  for (const sign of words) seed = (seed * 31 + sign.codePointAt(0)) % 2147483647;
  const next = most => (seed = seed * 48271 % 2147483647) % most;
  const make = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const svg = make("svg", {viewBox: "0 0 100 100"}), hue = next(360);
  svg.append(make("rect", {width: 100, height: 100, fill: `hsl(${hue} 60% 80%)`}));
  for (let number = 0; number < 9; number++) {
    svg.append(make("circle", {
      cx: next(100), cy: 30 + next(70), r: 5 + next(25), fill: `hsl(${(hue + next(120)) % 360} 70% ${30 + next(40)}%)`,
      opacity: 0.8,
    }));
  }
  return svg;
}
