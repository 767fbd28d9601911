// Sizes as a person reads them. Pure.

const UNITS = ["KB", "MB", "GB", "TB", "PB"];

/** Decimal units, as file managers and networks count. */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  let value = count;
  let unit = -1;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0)} ${UNITS[unit]}`;
}
