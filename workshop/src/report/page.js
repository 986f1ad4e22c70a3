// Draws the charts of a report from its JSON, by Observable Plot. Every text goes into the page as text: there is no markup
// in here, so that nothing in a report can become any.

/* global Plot */

(() => {
  const report = JSON.parse(document.getElementById('report').textContent);
  const colour = (name) => `var(--${name})`;
  const create = (tag, text = '') => Object.assign(document.createElement(tag), { textContent: text });

  /** Rows of a table as objects, by the names of its columns. */
  const objects = ({ columns, rows }) =>
    rows.map((row) => Object.fromEntries(row.map((cell, index) => [columns[index].name, cell])));
  const limitOf = ({ columns }) => columns.find(({ limit }) => limit !== undefined)?.limit;
  /** A number as a person reads it: three digits. */
  const short = (value) => (Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3))).toLocaleString('en');
  const cell = (value) => (value === null ? '–' : typeof value === 'number' ? short(value) : String(value));
  /** Text that a chart has room for. */
  const fits = (text, letters) => (text.length > letters ? `${text.slice(0, Math.max(1, letters - 1))}…` : text);

  const base = (width, rest) => ({
    width,
    marginBottom: 38,
    marginTop: 26,
    style: { background: 'none', color: 'currentColor', fontSize: '12px', fontFamily: 'inherit' },
    ...rest,
  });
  const limitLine = (axis, limit) =>
    limit === undefined
      ? []
      : [
          axis === 'x'
            ? Plot.ruleX([limit], { stroke: colour('limit'), strokeDasharray: '5 4', className: 'limit' })
            : Plot.ruleY([limit], { stroke: colour('limit'), strokeDasharray: '5 4', className: 'limit' }),
        ];
  const tip = { tip: { fill: colour('card'), stroke: colour('line') } };
  /** Ticks of a logarithmic axis: 1, 2 and 5 of each power of ten within it. */
  const logTicks = (low, high) =>
    Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** (power - 3)))
      .flat()
      .filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  const log = (low, high, width) => {
    const ticks = logTicks(low, high);
    const every = width < 420 && ticks.length > 6 ? ticks.filter((tick) => /^[0.]*1/.test(String(tick))) : ticks;
    return { type: 'log', domain: [low, high], ticks: every, tickFormat: short };
  };

  /** Counts of each bar, cold starts in front of the rest. The scale is a square root, so that a single one can be seen. */
  function histogram({ tables: [table] }, width) {
    const series = table.columns.slice(2).map(({ name }) => name);
    const bars = objects(table);
    const limit = limitOf(table);
    const data = series.flatMap((name) =>
      bars.filter((bar) => bar[name] > 0).map((bar) => ({ from: bar.from, to: bar.to, count: bar[name], name })),
    );
    const [low, high] = [Math.min(...bars.map(({ from }) => from), limit), Math.max(...bars.map(({ to }) => to), limit)];
    return Plot.plot(
      base(width, {
        height: 210,
        x: { ...log(low, high, width), label: 'ms (logarithmic)' },
        y: { type: 'sqrt', label: 'answers (square root)', ticks: 5, tickFormat: short, grid: true },
        marks: [
          Plot.rect(data, {
            x1: 'from',
            x2: 'to',
            y1: 0,
            y2: 'count',
            fill: ({ name }) => colour(name === 'cold' ? 'cold' : 'warm'),
            fillOpacity: 0.9,
            insetLeft: 0.5,
            insetRight: 0.5,
            className: 'bars',
            title: ({ from, to, count, name }) => `${short(from)} to ${short(to)} ms: ${short(count)} ${name}`,
            ...tip,
          }),
          ...limitLine('x', limit),
          Plot.ruleY([0], { strokeOpacity: 0.4 }),
        ],
      }),
    );
  }

  function latency({ tables: [stretches, cold, other] }, width) {
    const limit = limitOf(stretches);
    const each = objects(stretches).filter(({ answers }) => answers > 0);
    const [starts, rest] = [objects(cold), objects(other)];
    const times = [...starts, ...rest].map((it) => it.latency);
    const [low, high] = [Math.min(...times, limit), Math.max(...times, limit)];
    const seconds = stretches.rows.length > 1 ? stretches.rows[1][0] - stretches.rows[0][0] : 1;
    const end = stretches.rows.length * seconds;
    const line = (figure, dash) =>
      Plot.lineY(each, { x: (it) => it.second + seconds / 2, y: figure, stroke: 'currentColor', strokeWidth: 1.4, strokeDasharray: dash, className: figure });
    return Plot.plot(
      base(width, {
        height: 210,
        x: { label: 's of the run', domain: [0, end] },
        y: { ...log(low * 0.9, high * 1.1, 999), label: 'ms (logarithmic)', grid: true },
        marks: [
          Plot.dot(rest, { x: 'second', y: 'latency', r: 1.6, fill: colour('warm'), fillOpacity: 0.55, className: 'other-answers' }),
          line('p50'),
          line('p99', '3 3'),
          ...limitLine('y', limit),
          Plot.dot(starts, {
            x: 'second',
            y: 'latency',
            r: 4,
            symbol: 'diamond',
            fill: colour('cold'),
            stroke: colour('card'),
            strokeWidth: 0.7,
            className: 'cold-starts',
            title: (it) => `cold start, answered with ${it.status}\n${short(it.latency)} ms, at ${short(it.second)} s\n${it['request id'] ?? ''}`,
            ...tip,
          }),
        ],
      }),
    );
  }

  function states({ tables: [table] }, width) {
    const rows = objects(table);
    const seconds = rows.length > 1 ? rows[1].second - rows[0].second : 1;
    const names = ['at work', 'starting', 'frozen'];
    const data = rows.flatMap((row) => {
      let level = 0;
      return names.map((name) => {
        const part = { x1: row.second, x2: row.second + seconds, y1: level, y2: level + row[name], name, count: row[name] };
        level = part.y2;
        return part;
      });
    });
    return Plot.plot(
      base(width, {
        height: 230,
        x: { label: 's of the run' },
        y: { label: 'environments', grid: true },
        marks: [
          Plot.rect(data.filter(({ count }) => count > 0), {
            x1: 'x1', x2: 'x2', y1: 'y1', y2: 'y2',
            fill: ({ name }) => colour(name === 'at work' ? 'work' : name),
            className: 'levels',
            title: ({ name, count, x1 }) => `${short(count)} ${name}, at ${short(x1)} s`,
            ...tip,
          }),
          Plot.dot(rows.filter(({ gone }) => gone > 0), { x: (row) => row.second + seconds / 2, y: 'gone', symbol: 'times', stroke: colour('gone'), strokeWidth: 2, className: 'gone' }),
          Plot.ruleY([0], { strokeOpacity: 0.4 }),
        ],
      }),
    );
  }

  /** A small field for each column. */
  function lines({ tables: [table] }, width) {
    const [first, ...others] = table.columns;
    const time = first.unit === 's';
    const fields = others.map(({ name, unit, limit }, index) => {
      if (time && table.rows.every((row) => !row[index + 1])) return create('p', `${name}: none`);
      const data = table.rows.filter((row) => row[index + 1] !== null).map((row) => ({ x: row[0], y: row[index + 1] }));
      const field = create('div');
      field.append(
        create('p', unit ? `${name}, ${unit}` : name),
        Plot.plot(
          base(width, {
            height: 110,
            marginTop: 8,
            x: { label: time ? 's of the run' : `${first.name}, ${first.unit}`, type: time ? 'linear' : 'log', ...(time ? {} : { ticks: data.map(({ x }) => x).filter((_, at) => width > 600 || at % 3 === 0), tickFormat: short }) },
            y: { label: null, grid: true, ticks: 4, domain: [0, Math.max(...data.map(({ y }) => y), limit ?? 0, 1e-6) * 1.05], tickFormat: short },
            marks: [
              ...limitLine('y', limit),
              time
                ? Plot.areaY(data, { x: 'x', y: 'y', fill: colour('warm'), fillOpacity: 0.25, curve: 'step-after' })
                : Plot.dot(data, { x: 'x', y: 'y', fill: colour('warm'), className: 'values', title: ({ x, y }) => `${short(x)} ${first.unit}: ${short(y)} ${unit}`, ...tip }),
              Plot.lineY(data, { x: 'x', y: 'y', stroke: colour('warm'), curve: time ? 'step-after' : 'linear', className: 'line' }),
            ],
          }),
        ),
      );
      return field;
    });
    const all = create('div');
    all.append(...fields);
    return all;
  }

  /** A name above each bar, so that it has room at any width. */
  function named(data, width, { x, marks, rowHeight = 36 }) {
    return Plot.plot(
      base(width, {
        height: data.length * rowHeight + (x.label ? 42 : 30),
        marginLeft: 14,
        marginRight: 12,
        marginTop: x.label ? 34 : 22, // its words are above the ticks
        marginBottom: 4,
        x: { axis: 'top', grid: true, tickSize: 0, labelOffset: 32, ...x },
        y: { axis: null, domain: data.map((_, index) => index) },
        marks,
      }),
    );
  }

  function waterfall({ tables: [table] }, width) {
    const steps = objects(table).map((step, index) => ({ ...step, index }));
    const end = Math.max(...steps.map(({ begin, time }) => begin + time), 0.001);
    const letters = Math.floor(width / 6.6);
    const late = ({ begin }) => begin > end * 0.5;
    const label = (step) => {
      const price = step.price === null ? '' : ` · $${short(step.price)}`;
      const units = [step.read !== null && `${short(step.read)} read`, step.write !== null && `${short(step.write)} write`].filter(Boolean);
      const more = ` · ${short(step.time)} ms${units.length ? ` · ${units.join(', ')}` : ''}${price}`;
      const room = Math.max(12, Math.floor(letters * (late(step) ? (step.begin + step.time) / end : 1 - step.begin / end)) - more.length);
      return fits(step.step, room) + more;
    };
    const text = (steps, anchor) =>
      Plot.text(steps, {
        x: (step) => (anchor === 'start' ? step.begin : step.begin + step.time),
        y: 'index',
        text: label,
        textAnchor: anchor,
        dy: -9,
        fill: 'currentColor',
        className: `names-${anchor}`,
      });
    return named(steps, width, {
      x: { label: null, domain: [0, end], ticks: width < 560 ? 4 : 8, tickFormat: (tick) => `${short(tick)} ms` },
      marks: [
        Plot.barX(steps, {
          x1: 'begin',
          x2: ({ begin, time }) => Math.max(begin + time, begin + end / 700),
          y: 'index',
          insetTop: 17,
          insetBottom: 3,
          rx: 2,
          fill: ({ kind }) => colour(/^[a-z]+$/.test(kind) ? kind : 'quiet'),
          className: 'steps',
          title: (step) => `${step.step}\nfrom ${short(step.begin)} ms, for ${short(step.time)} ms\n${step.origin}`,
          ...tip,
        }),
        text(steps.filter((step) => !late(step)), 'start'),
        text(steps.filter(late), 'end'),
      ],
    });
  }

  function bars({ tables: [table] }, width) {
    const data = objects(table).map((row, index) => ({ ...row, index, name: String(Object.values(row)[0]) }));
    const values = data.flatMap(({ low, value, high }) => [low ?? value, value, high ?? value]).filter((value) => value > 0);
    const wide = values.length > 0 && Math.max(...values) / Math.min(...values) > 30;
    const limit = limitOf(table);
    const unit = table.columns.find(({ name }) => name === 'value')?.unit ?? '';
    const [least, most] = [wide ? Math.min(...values) * 0.7 : 0, Math.max(...values, limit ?? 0, 1e-6) * 1.1];
    const letters = Math.floor(width / 6.8);
    return named(data, width, {
      x: wide ? { ...log(least, most, width), label: `${unit} (logarithmic)` } : { label: unit, domain: [0, most] },
      marks: [
        Plot.barX(data, { x1: least, x2: ({ value }) => value ?? least, y: 'index', insetTop: 17, insetBottom: 3, rx: 2, fill: colour('warm'), className: 'values', title: ({ name, low, value, high }) => `${name}\n${cell(value)} ${unit} (${cell(low)} to ${cell(high)})`, ...tip }),
        Plot.ruleY(data.filter(({ low }) => low !== null && low !== undefined), { x1: 'low', x2: 'high', y: 'index', dy: 7, strokeWidth: 2, stroke: 'currentColor', className: 'spread' }),
        ...limitLine('x', limit),
        Plot.text(data, { x: () => least, y: 'index', dx: 2, dy: -9, textAnchor: 'start', fill: 'currentColor', text: ({ name, value }) => `${fits(name, letters - 14)} · ${cell(value)} ${unit}`, className: 'names' }),
      ],
    });
  }

  function ratios({ tables: [table] }, width) {
    const data = objects(table).map((row, index) => ({ ...row, index, name: String(Object.values(row)[0]) }));
    const ends = data.flatMap(({ from, to }) => [from, to]);
    const far = Math.max(1.1, ...ends.map((end) => Math.max(end, 1 / end))) * 1.02;
    const tone = ({ verdict }) => colour({ slower: 'bad', quicker: 'good' }[verdict] ?? 'quiet');
    const letters = Math.floor(width / 6.8);
    return named(data, width, {
      x: { type: 'log', domain: [1 / far, far], label: 'after / before', tickFormat: short, ticks: [0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.25, 2, 5, 10].filter((tick) => tick > 1 / far && tick < far) },
      marks: [
        Plot.ruleX([1], { stroke: 'currentColor', strokeOpacity: 0.5 }),
        Plot.ruleY(data, { x1: 'from', x2: 'to', y: 'index', dy: 7, stroke: tone, strokeWidth: 3, className: 'intervals' }),
        Plot.dot(data, { x: 'ratio', y: 'index', dy: 7, r: 4, fill: tone, className: 'values', title: ({ name, ratio, from, to }) => `${name}\n${short(ratio)} (${short(from)} to ${short(to)})`, ...tip }),
        Plot.text(data, { x: () => 1 / far, y: 'index', dx: 2, dy: -9, textAnchor: 'start', fill: 'currentColor', text: ({ name, ratio }) => `${fits(name, letters - 8)} · ${short(ratio)}`, className: 'names' }),
      ],
    });
  }

  const draw = { histogram, latency, states, lines, waterfall, bars, ratios };

  /** Words and colours of a chart. */
  function legend({ kind, tables: [table, cold] }) {
    const limit = limitOf(table);
    const several = table.columns.filter(({ limit }) => limit !== undefined).length > 1;
    const line = limit === undefined ? [] : [[several ? 'limits' : `limit: ${short(limit)}`, 'limit']];
    switch (kind) {
      case 'histogram':
        return [...table.columns.slice(2).map(({ name }) => [name, name === 'cold' ? 'cold' : 'warm']), ...line];
      case 'latency':
        return [['answers', 'warm'], ...(cold.rows.length ? [['cold starts', 'cold']] : []), ['p50 (p99 dashed)', 'ink'], ...line];
      case 'states':
        return [['at work', 'work'], ['starting', 'starting'], ['frozen', 'frozen'], ['gone', 'gone']];
      case 'waterfall':
        return [...new Set(objects(table).map((step) => step.kind))].filter((kind) => /^[a-z]+$/.test(kind)).map((kind) => [kind, kind]);
      case 'ratios':
        return [['slower', 'bad'], ['quicker', 'good'], ['no difference that could be told', 'quiet']];
      default:
        return line;
    }
  }

  function numbers({ title, origin, columns, rows }) {
    const table = create('table');
    const caption = create('caption', `${title} `);
    caption.append(Object.assign(create('span', origin), { className: 'origin' }));
    const isNumber = columns.map((_, index) => !rows.some((row) => typeof row[index] === 'string'));
    const head = create('tr');
    columns.forEach(({ name, unit }, index) => {
      const header = Object.assign(create('th', name), { scope: 'col', className: isNumber[index] ? 'n' : '' });
      if (unit) header.append(create('small', unit));
      head.append(header);
    });
    const body = create('tbody');
    for (const row of rows) {
      const line = create('tr');
      row.forEach((value, index) => {
        // Not rounded: these are for copying.
        line.append(Object.assign(create('td', value === null ? '-' : String(value)), { className: isNumber[index] ? 'n' : '' }));
      });
      body.append(line);
    }
    const top = create('thead');
    top.append(head);
    table.append(caption, top, body);
    const scroll = Object.assign(create('div'), { className: 'scroll', tabIndex: 0, role: 'region', ariaLabel: title });
    scroll.append(table);
    return scroll;
  }

  const isEmpty = ({ tables }) => tables.every(({ rows }) => rows.length === 0);

  function show(figure, chart) {
    const plot = figure.querySelector('.plot');
    figure.classList.toggle('wide', ['waterfall', 'bars', 'ratios'].includes(chart.kind) || (chart.kind === 'lines' && chart.tables[0].columns[0].unit !== 's'));
    for (const [word, tone] of legend(chart)) {
      const entry = create('span');
      const swatch = create('i');
      swatch.style.background = colour(tone);
      entry.append(swatch, word);
      figure.querySelector('.legend').append(entry);
    }
    let drawn = 0;
    const redraw = () => {
      const width = Math.floor(plot.clientWidth);
      if (width === drawn || width < 50) return;
      drawn = width;
      const picture = isEmpty(chart) ? create('p', 'There is nothing to draw.') : draw[chart.kind](chart, width);
      for (const svg of picture.matches?.('svg') ? [picture] : picture.querySelectorAll('svg')) {
        svg.setAttribute('role', 'img');
        svg.setAttribute('aria-label', chart.text);
      }
      plot.replaceChildren(picture);
    };
    redraw();
    new ResizeObserver(() => requestAnimationFrame(redraw)).observe(plot);
    const details = figure.querySelector('.numbers');
    details.addEventListener('toggle', () => {
      if (details.open && details.children.length === 1) details.append(...chart.tables.map(numbers));
    });
  }

  const charts = report.sections.flatMap((section) => section.charts);
  const figures = [...document.querySelectorAll('figure')];
  charts.forEach((chart, index) => {
    show(figures[index], chart);
  });

  const themes = ['system', 'light', 'dark'];
  const button = document.getElementById('theme');
  button.addEventListener('click', () => {
    const root = document.documentElement;
    const next = themes[(themes.indexOf(root.dataset.theme ?? 'system') + 1) % themes.length];
    if (next === 'system') delete root.dataset.theme;
    else root.dataset.theme = next;
    button.textContent = `Colours: ${next}`;
  });

  // For `make pictures`: a chart as an SVG file with its title and legend.
  window.pictureOf = (id, width) => {
    const chart = charts.find((it) => it.id === id);
    if (!chart) return null;
    const picture = draw[chart.kind](chart, width);
    return { svg: picture.outerHTML, height: Number(picture.getAttribute('height')), title: chart.title, text: chart.text, legend: legend(chart) };
  };
})();
