// Draws every canvas that the page has data for, once it comes near the window, and all of them for paper. Colours come
// from the stylesheet, so charts follow light, dark and print.

const root = document.documentElement;
const locale = root.lang;
const format = (options) => new Intl.NumberFormat(locale, { useGrouping: "always", ...options });
const whole = format({ maximumFractionDigits: 4 });
const compact = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
const drawn = new Map();
const isOnPaper = () => root.classList.contains("paper");
const [DOTS, DASHES] = [[2, 4], [6, 4]];

/** An axis' numbers: in full while its highest is short, else all of them in brief. */
const ticks = (highest) => (highest < 100000 ? whole : compact);

/** A figure of a product; durations come in hours, and are said as the server says them. */
function figure(value, chart) {
  if (!chart.isDuration) return [whole.format(value), chart.unit].filter(Boolean).join(chart.unit === "%" ? "" : " ");
  if (value < 0) return `-${figure(-value, chart)}`;
  const seconds = Math.round(value * 3600);
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60];
  return hours ? `${whole.format(hours)} h ${String(minutes).padStart(2, "0")} min` : `${minutes} min ${String(rest).padStart(2, "0")} s`;
}

function colours(canvas) {
  const style = getComputedStyle(canvas);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { of, product: of("product") || of("accent"), font: style.fontFamily };
}

const isReckoned = (series, index) => series.reckoned?.includes(index + 1) ?? false;

/** A chart of days has one that is unfinished at the most, a year's has the months that aren't closed. */
const isUnfinished = (chart, index) => [chart.unfinished].flat().includes(index + 1);

/** How solid a bar is, as the stylesheet's colours are #rrggbb. On paper it is outlined, which saves ink. */
function alpha(isReckoned, isUnfinished) {
  if (isReckoned) return "33";
  if (isUnfinished) return isOnPaper() ? "00" : "66";
  return isOnPaper() ? "40" : "d9";
}

const LEAST = 5; // pixels of a gap, however short

/** Behind the figures: the days of which nothing is known as a wash, and the gaps, at their place in their days, hatched. */
const ground = {
  id: "ground",
  beforeDatasetsDraw(chart, _, { unknown, gaps, hatch, wash }) {
    const { ctx, chartArea: area, scales: { x } } = chart;
    const day = x.width / chart.data.labels.length;
    ctx.save();
    ctx.fillStyle = wash;
    for (const number of unknown ?? []) ctx.fillRect(x.left + (number - 1) * day, area.top, day, area.height);
    ctx.beginPath();
    for (const [from, to] of gaps ?? []) {
      const width = Math.max(LEAST, (to - from) * day);
      const left = Math.min(x.left + ((from + to) / 2) * day - width / 2, x.right - width);
      ctx.rect(Math.max(x.left, left), area.top, width, area.height);
    }
    ctx.clip();
    ctx.strokeStyle = hatch;
    ctx.lineWidth = 1.5;
    ctx.stroke(); // its edges
    ctx.beginPath();
    for (let left = area.left - area.height; left < area.right; left += 6) {
      ctx.moveTo(left, area.bottom);
      ctx.lineTo(left + area.height, area.top);
    }
    ctx.stroke();
    ctx.restore();
  },
};

/** The boxes of the bars that are reckoned. */
const reckonedBars = (chart) =>
  chart.data.datasets.flatMap((dataset, index) =>
    chart
      .getDatasetMeta(index)
      .data.filter((bar, day) => dataset.role === "items" && isReckoned(dataset, day) && dataset.data[day] > 0)
      .map(({ x, y, base, width }) => [x - width / 2, y, width, base - y]),
  );

/** Bars that are reckoned stand clear of the hatching, with a dashed outline. */
const outlines = {
  id: "outlines",
  beforeDatasetsDraw(chart, _, { card }) {
    chart.ctx.fillStyle = card;
    for (const box of reckonedBars(chart)) chart.ctx.fillRect(...box);
  },
  afterDatasetsDraw(chart, _, { product }) {
    const { ctx } = chart;
    ctx.save();
    ctx.strokeStyle = product;
    ctx.setLineDash([3, 2]);
    for (const [left, top, width, height] of reckonedBars(chart)) ctx.strokeRect(left + 0.5, top + 0.5, width - 1, height);
    ctx.restore();
  },
};

/** A point that stands alone between unknown days is no line: it is drawn as a point. */
const isAlone = (data, index) => data[index] !== null && (data[index - 1] ?? null) === null && (data[index + 1] ?? null) === null;

function line(series, colour, width, unfinished, card) {
  const last = unfinished === null ? -1 : unfinished - 1;
  return {
    type: "line",
    borderColor: colour,
    borderWidth: width,
    pointBackgroundColor: (point) => (point.dataIndex === last ? card : colour),
    pointBorderColor: colour,
    pointBorderWidth: 2,
    pointRadius: (point) => (point.dataIndex === last ? 4 : isAlone(series.data, point.dataIndex) ? 2 : 0),
    pointHoverRadius: 4,
    segment: { borderDash: (part) => (part.p1DataIndex === last ? DOTS : isReckoned(series, part.p1DataIndex) ? DASHES : undefined) },
    spanGaps: false,
  };
}

/** A point's style and how it is turned, by slot, as the stylesheet has them: from the ninth on, by another one's. */
const MARKS = [["circle"], ["rect"], ["triangle"], ["rectRot"], ["cross"], ["crossRot"], ["triangle", 180], ["dash"]];

/** A line that only its colour would tell from the others ends in a mark, which stands beside its name too. */
function marked(series, { of }) {
  const [colour, mark] = [(series.slot - 1) % 8, (series.slot - 1 + (series.slot > 8 ? 4 : 0)) % 8];
  const its = line(series, of(`p${colour + 1}`), 2, series.unfinished ?? null, of("card"));
  const end = series.data.findLastIndex((value) => value !== null);
  const [pointStyle, pointRotation = 0] = MARKS[mark];
  return {
    ...its,
    pointStyle,
    pointRotation,
    pointRadius: (point) => (point.dataIndex === end ? 5 : its.pointRadius(point)),
    pointHoverRadius: 5,
  };
}

const looks = {
  items: (series, chart, { product }) => ({
    backgroundColor: ({ dataIndex: index }) => product + alpha(isReckoned(series, index), isUnfinished(chart, index)),
    borderColor: product,
    borderWidth: ({ dataIndex: index }) => (isOnPaper() && !isReckoned(series, index) ? 1 : 0),
    borderRadius: 2,
    categoryPercentage: 0.8,
    barPercentage: 0.9,
    minBarLength: 1,
    order: 2,
  }),
  licences: (series, chart, { of }) => ({
    ...line(series, of("ink"), 1.5, null, of("card")),
    stepped: "middle",
    yAxisID: "right",
    order: 1,
  }),
  total: (series, chart, { product, of }) => ({ ...line(series, product, 2.5, chart.unfinished, of("card")), order: 1 }),
  before: (series, chart, { of }) => ({ ...line(series, of("soft"), 1.25, null, of("card")), order: 2 }),
  operation: (series, _, palette) => marked(series, palette),
  gauge: (series, _, palette) => ({ ...marked(series, palette), stepped: "middle" }),
};

const STEPS = 4;
const ROUND = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];

/** A round step of which four hold all that is shown: so both axes of a chart share their grid lines. */
function stepFor(chart, position) {
  const isRight = position === "right";
  const shown = chart.series.filter((series) => (series.role === "licences") === isRight).flatMap((series) => series.data);
  const whole = shown.every((value) => value === null || Number.isInteger(value));
  const least = (Math.max(...shown, 0) * (isRight ? 1.35 : 1.02)) / STEPS; // licences run amid the bars, not along the edge
  const scale = 10 ** Math.floor(Math.log10(least || 1));
  const step = scale * ROUND.find((round) => round * scale >= least * 0.999999);
  return whole ? Math.max(1, Math.ceil(step)) : step;
}

function axis(chart, { of }, position) {
  const step = stepFor(chart, position);
  const written = ticks(step * STEPS);
  const unit = position === "right" ? "" : chart.isDuration ? " h" : chart.unit === "%" ? "%" : "";
  return {
    position,
    min: 0,
    max: step * STEPS,
    grid: { color: of("grid"), drawTicks: false, display: position === "left" },
    border: { display: false },
    ticks: {
      stepSize: step,
      padding: 8,
      callback: (value) => written.format(value) + unit,
    },
  };
}

function tooltip(chart, { of }) {
  return {
    backgroundColor: of("card"),
    titleColor: of("ink"),
    bodyColor: of("ink"),
    footerColor: of("soft"),
    footerFont: { weight: "normal" },
    borderColor: of("line"),
    borderWidth: 1,
    padding: 10,
    boxPadding: 6,
    usePointStyle: true,
    itemSort: (one, other) => one.datasetIndex - other.datasetIndex,
    callbacks: {
      title: ([first]) => {
        const title = chart.titles[first.dataIndex];
        return isUnfinished(chart, first.dataIndex) ? `${title} · ${chart.unfinishedLabel}` : title;
      },
      label: ({ dataset, dataIndex, parsed }) => {
        const shown = `${dataset.names?.[dataIndex] ?? dataset.label}: ${dataset.role === "licences" ? whole.format(parsed.y) : figure(parsed.y, chart)}`;
        return isReckoned(dataset, dataIndex) ? `${shown} · ${chart.reckonedLabel}` : shown;
      },
      footer: ([first]) => chart.notes?.[first.dataIndex + 1] ?? "",
      labelPointStyle: () => ({ pointStyle: "rectRounded", rotation: 0 }),
      labelColor: ({ dataset }) => {
        const colour = dataset.role === "items" ? dataset.product : dataset.borderColor;
        return { borderColor: colour, backgroundColor: colour };
      },
    },
  };
}

/** Where a click leads: to the day, or the month, of the point in its column that is nearest. */
function target(made, chart, event) {
  const column = made.getElementsAtEventForMode(event, "index", { intersect: false }, false);
  const away = ({ element }) => Math.abs(element.y - event.y);
  const [point] = column
    .filter(({ datasetIndex, index }) => chart.series[datasetIndex].leads && chart.series[datasetIndex].data[index] !== null)
    .sort((one, other) => away(one) - away(other));
  return point && chart.series[point.datasetIndex].leads.replace("{}", String(point.index + 1).padStart(2, "0"));
}

function draw(canvas, chart) {
  if (!canvas.isConnected) return; // the page was renewed meanwhile
  const palette = colours(canvas);
  const scales = {
    x: {
      offset: true, // a day is a stretch on lines too, so that gaps lie at their place in it
      grid: { display: false },
      border: { color: palette.of("line") },
      ticks: { maxRotation: 0, autoSkipPadding: 10, padding: 4 },
    },
    y: axis(chart, palette, "left"),
  };
  if (chart.series.some((series) => series.role === "licences")) scales.right = axis(chart, palette, "right");
  drawn.get(canvas)?.destroy();
  Chart.defaults.font.family = palette.font;
  Chart.defaults.font.size = 12;
  Chart.defaults.color = palette.of("soft");
  const made = new Chart(canvas, {
    type: chart.type,
    data: {
      labels: chart.labels,
      datasets: chart.series.map((series) => ({
        ...looks[series.role](series, chart, palette),
        label: series.label,
        data: series.data,
        role: series.role,
        reckoned: series.reckoned,
        names: series.names,
        product: palette.product,
      })),
    },
    options: {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      onHover: (event, _, made) => (canvas.style.cursor = target(made, chart, event) ? "pointer" : ""),
      onClick: (event, _, made) => {
        const address = target(made, chart, event);
        if (address) location.assign(address);
      },
      scales,
      plugins: {
        legend: false,
        tooltip: tooltip(chart, palette),
        outlines: { card: palette.of("card"), product: palette.product },
        ground: { unknown: chart.unknown, gaps: chart.gaps, hatch: palette.of("hatch"), wash: palette.of("wash") },
      },
    },
    plugins: [ground, outlines],
  });
  drawn.set(canvas, made);
  canvas.dataset.ready = "";
}

let charts, canvases;
const drawSoon = (canvas) => setTimeout(draw, 0, canvas, charts[canvas.id]); // each in a task of its own: the page answers in between
const near = new IntersectionObserver(
  (entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      near.unobserve(target);
      drawSoon(target);
    }
  },
  { rootMargin: "50%" },
);

function isInSight(canvas) {
  const { top, bottom } = canvas.getBoundingClientRect();
  return top < innerHeight && bottom > 0;
}

const redraw = (of) => of.forEach((canvas) => draw(canvas, charts[canvas.id]));

/** Watches the page's canvases, and forgets those of the figures before. */
function start() {
  near.disconnect();
  for (const chart of drawn.values()) chart.destroy();
  drawn.clear();
  charts = JSON.parse(document.getElementById("charts")?.textContent ?? "{}");
  canvases = [...document.querySelectorAll("canvas")].filter((canvas) => canvas.id in charts);
  for (const canvas of canvases) isInSight(canvas) ? drawSoon(canvas) : near.observe(canvas); // which waits for a frame
}

// This may run before Chart.js, which comes once the page is parsed: what takes long here fits in while that is waited for.
window.Chart ? start() : document.addEventListener("DOMContentLoaded", start);
document.addEventListener("renewed", start);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw([...drawn.keys()]));
addEventListener("beforeprint", () => {
  root.classList.add("paper");
  redraw(canvases);
});
addEventListener("afterprint", () => {
  root.classList.remove("paper");
  redraw(canvases);
});
