// Tables of at most 100 columns. The heading of each names the source of its numbers.

const WIDTH = 100;

/** Numbers align right, text left; an unknown value is a dash. */
export function table(title, origin, headers, rows) {
  const columns = headers.map((header, index) => {
    const values = rows.map((row) => row[index]);
    const whole = values.every((value) => typeof value !== 'number' || Number.isInteger(value));
    const cells = values.map((value) => (typeof value === 'number' ? number(value, whole) : (value ?? '-')));
    const numeric = values.every((value) => typeof value !== 'string');
    const width = Math.max(header.length, ...cells.map(({ length }) => length));
    return [header, ...cells].map((cell) => (numeric ? cell.padStart(width) : cell.padEnd(width)));
  });
  const lines = columns[0].map((_, line) => `  ${columns.map((column) => column[line]).join('  ')}`.trimEnd());
  return [`${title} [${origin}]`, ...lines.map((line) => (line.length > WIDTH ? `${line.slice(0, WIDTH - 1)}…` : line))].join('\n');
}

/** These measurements are worth three digits; counts are printed in full. */
function number(value, whole) {
  if (whole || Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
