// Times of flows as text, in the local time zone, by the names that Go's users know.
import type { Timestamp } from '../types.ts';

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

const two = (number: number): string => String(number).padStart(2, '0');
const clockText = (date: Date): string => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
const fraction = (nanos: number, digits: number): string => `.${String(nanos).padStart(9, '0').slice(0, digits)}`;

function offset(date: Date, colon: string): string {
  const minutes = -date.getTimezoneOffset();
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(Math.abs(minutes) / 60))}${colon}${two(Math.abs(minutes) % 60)}`;
}

const stamp = (digits: number) => (date: Date, nanos: number): string =>
  `${months[date.getMonth()]} ${String(date.getDate()).padStart(2)} ${clockText(date)}${digits > 0 ? fraction(nanos, digits) : ''}`;

const rfc3339 = (digits: number, trim = false) => (date: Date, nanos: number): string => {
  const part = digits > 0 ? fraction(nanos, digits) : '';
  const zone = offset(date, ':');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${clockText(date)}${trim ? part.replace(/\.?0+$/, '') : part}${zone === '+00:00' ? 'Z' : zone}`;
};

const formats: Readonly<Record<string, (date: Date, nanos: number) => string>> = {
  StampMilli: stamp(3), Stamp: stamp(0), StampMicro: stamp(6), StampNano: stamp(9),
  RFC3339: rfc3339(0), RFC3339Milli: rfc3339(3), RFC3339Micro: rfc3339(6), RFC3339Nano: rfc3339(9, true),
  RFC1123Z: (date) => `${days[date.getDay()]}, ${two(date.getDate())} ${months[date.getMonth()]} ${date.getFullYear()} ${clockText(date)} ${offset(date, '')}`,
};

export const timeFormats: readonly string[] = Object.keys(formats);

/** `format` is one of `timeFormats`. */
export const formatTime = (time: Timestamp | undefined, format: string): string =>
  (time === undefined ? 'N/A' : formats[format]!(new Date(Number(time.seconds) * 1000), time.nanos ?? 0));
