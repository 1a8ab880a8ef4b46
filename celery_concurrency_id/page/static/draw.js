// Lines of the last minutes, as SVG. A point is [running, waiting, limit], or null where nobody looked.

const SVG = "http://www.w3.org/2000/svg";

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The steps of one line as two paths: what is below it, which breaks where nobody looked, and nothing else. */
function steps(values, height, most) {
  let path = "", open = false;
  const y = (value) => height - (value / most) * (height - 2);
  values.forEach((value, at) => {
    if (value === null) {
      if (open) path += `V${height}Z`;
      open = false;
      return;
    }
    path += open ? `V${y(value)}H${at + 1}` : `M${at} ${height}V${y(value)}H${at + 1}`;
    open = true;
  });
  return open ? `${path}V${height}Z` : path;
}

function picture(width, height, parts, text) {
  const made = shape("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" });
  made.setAttribute("aria-label", text);
  made.append(...parts);
  return made;
}

const most = (values) => Math.max(1, ...values.filter((value) => value !== null));

/** What ran, below a dashed line for the limit. */
export function runLine(line, text) {
  const values = line.map((point) => point && point[0]);
  const limits = line.map((point) => point && point[2]);
  const top = most([...values, ...limits]);
  let path = "";
  limits.forEach((limit, at) => {
    if (limit !== null) path += `M${at} ${62 - (limit / top) * 60}H${at + 1}`;
  });
  const parts = [shape("path", { class: "run", d: steps(values, 62, top) })];
  if (path) parts.push(shape("path", { class: "limit", d: path, fill: "none" }));
  return picture(line.length, 62, parts, text);
}

/** What waited. */
export function waitLine(line, text) {
  const values = line.map((point) => point && point[1]);
  return picture(line.length, 62, [shape("path", { class: "wait", d: steps(values, 62, most(values)) })], text);
}

/** Both, small: what ran against the limit above, what waited below. */
export function spark(line, text) {
  const ran = line.map((point) => point && point[0]), waited = line.map((point) => point && point[1]);
  const upper = shape("path", { class: "run", d: steps(ran, 14, most([...ran, ...line.map((point) => point && point[2])])) });
  const lower = shape("path", { class: "wait", d: steps(waited, 14, most(waited)), transform: "translate(0 15)" });
  return picture(line.length, 30, [upper, lower], text);
}

/** "at most 2": of what was seen. */
export function highest(line, column) {
  return Math.max(0, ...line.map((point) => (point ? point[column] : 0)));
}
