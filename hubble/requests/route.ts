// The path of a request -> its route: what differs from one request to the next is a star, so that routes stay few.

const mostSegments = 6;
const mostLength = 32;
/** Numbers, uuids, hashes, dates. */
const isKey = (segment: string): boolean => segment.length > mostLength || /^[^a-z]*\d[^a-z]*$/i.test(segment) || /^(?=.*\d)[0-9a-f-]{8,}$/i.test(segment);

/** `/items/42?page=2` -> `/items/*`. */
export function routeOf(path: string): string {
  const end = path.search(/[?#]/);
  const segments = (end < 0 ? path : path.slice(0, end)).split('/', mostSegments + 2);
  const route = segments.slice(0, mostSegments + 1).map((segment) => (isKey(segment) ? '*' : segment)).join('/');
  return segments.length > mostSegments + 1 ? `${route}/…` : route;
}

/** Of the URL that a flow has. */
export function routeOfUrl(url: string): string {
  const host = url.indexOf('://');
  const path = host < 0 ? 0 : url.indexOf('/', host + 3);
  return routeOf(path < 0 ? '/' : url.slice(path));
}
