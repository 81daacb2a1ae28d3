// Draws every canvas that the page has data for. Colours come from the stylesheet, so charts follow light and dark.

const read = () => JSON.parse(document.getElementById("charts")?.textContent ?? "{}");
const locale = document.documentElement.lang;
const format = (options) => new Intl.NumberFormat(locale, { useGrouping: "always", ...options });
const whole = format({ maximumFractionDigits: 4 });
const compact = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
const drawn = new Map();
const [FINISHED, UNFINISHED] = ["d9", "66"]; // alpha, as the stylesheet's colours are #rrggbb

/** An axis' numbers: in full while its highest is short, else all of them in brief. */
const ticks = (highest) => (highest < 100000 ? whole : compact);

/** A figure of a product; durations come in hours. */
function figure(value, chart) {
  if (!chart.isDuration) return [whole.format(value), chart.unit].filter(Boolean).join(" ");
  const minutes = Math.round(value * 60);
  return `${whole.format(Math.floor(minutes / 60))} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function colours(canvas) {
  const style = getComputedStyle(canvas);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { of, product: of("product") || of("accent"), font: style.fontFamily };
}

/** Hatches the days of which nothing is known, behind the figures. */
const hatching = {
  id: "hatching",
  beforeDatasetsDraw(chart, _, { days, colour }) {
    const { ctx, chartArea: area, scales } = chart;
    if (!days?.length) return;
    const step = area.width / scales.x.ticks.length;
    const isBars = chart.config.type === "bar";
    const centre = (day) => scales.x.getPixelForValue(day - 1);
    const half = (isBars ? scales.x.width / chart.data.labels.length : centre(2) - centre(1)) / 2 || step;
    ctx.save();
    ctx.beginPath();
    for (const day of days) {
      const left = Math.max(area.left, centre(day) - half);
      ctx.rect(left, area.top, Math.min(area.right, centre(day) + half) - left, area.height);
    }
    ctx.clip();
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    for (let x = area.left - area.height; x < area.right; x += 6) {
      ctx.moveTo(x, area.bottom);
      ctx.lineTo(x + area.height, area.top);
    }
    ctx.stroke();
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
    segment: { borderDash: (part) => (part.p1DataIndex === last ? [2, 4] : undefined) },
    spanGaps: false,
  };
}

const looks = {
  items: (series, chart, { product }) => ({
    backgroundColor: (bar) => product + (bar.dataIndex + 1 === chart.unfinished ? UNFINISHED : FINISHED),
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
  operation: (series, chart, { of }) => line(series, of(`p${series.slot}`), 2, series.unfinished, of("card")),
  gauge: (series, chart, { of }) => ({ ...line(series, of(`p${series.slot}`), 2, null, of("card")), stepped: "middle" }),
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
  const unit = chart.isDuration && position === "left" ? " h" : "";
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
    borderColor: of("line"),
    borderWidth: 1,
    padding: 10,
    boxPadding: 6,
    usePointStyle: true,
    itemSort: (one, other) => one.datasetIndex - other.datasetIndex,
    callbacks: {
      title: ([first]) => {
        const day = first.dataIndex + 1;
        const title = chart.titles[first.dataIndex];
        return day === chart.unfinished ? `${title} · ${chart.unfinishedLabel}` : title;
      },
      label: ({ dataset, parsed }) =>
        `${dataset.label}: ${dataset.role === "licences" ? whole.format(parsed.y) : figure(parsed.y, chart)}`,
      labelPointStyle: () => ({ pointStyle: "rectRounded", rotation: 0 }),
      labelColor: ({ dataset }) => {
        const colour = dataset.role === "items" ? dataset.product : dataset.borderColor;
        return { borderColor: colour, backgroundColor: colour };
      },
    },
  };
}

function draw(canvas, chart) {
  const palette = colours(canvas);
  const scales = {
    x: {
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
        product: palette.product,
      })),
    },
    options: {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      scales,
      plugins: {
        legend: { display: false },
        tooltip: tooltip(chart, palette),
        hatching: { days: chart.unknown, colour: palette.of("hatch") },
      },
    },
    plugins: [hatching],
  });
  drawn.set(canvas, made);
  canvas.dataset.ready = "";
}

function drawAll() {
  for (const [id, chart] of Object.entries(read())) {
    const canvas = document.getElementById(id);
    if (canvas) draw(canvas, chart);
  }
}

drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
