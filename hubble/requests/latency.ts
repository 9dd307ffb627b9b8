// Latencies as counts in buckets that grow by a factor: a percentile is within a tenth of what it says, whatever the number of requests.

const perOctave = 4;
/** From a microsecond to more than two minutes; what is beyond stands in the last. */
const octaves = 27;
export const buckets = perOctave * octaves;
const nsPerUs = 1_000;

export const bucketOf = (latencyNs: number): number => Math.min(buckets - 1, Math.max(0, Math.floor(Math.log2(latencyNs / nsPerUs) * perOctave)));

/** The middle of a bucket, geometrically, in milliseconds. */
const middleMs = (bucket: number): number => 2 ** ((bucket + 0.5) / perOctave) / 1_000;

/** The latency that `quantile` of all do not pass; undefined: there are none. */
export function percentileMs(counts: ArrayLike<number>, quantile: number): number | undefined {
  let total = 0;
  for (let bucket = 0; bucket < counts.length; bucket += 1) total += counts[bucket]!;
  if (total === 0) return undefined;
  let left = Math.ceil(total * quantile);
  for (let bucket = 0; bucket < counts.length; bucket += 1) {
    left -= counts[bucket]!;
    if (left <= 0) return middleMs(bucket);
  }
  return middleMs(counts.length - 1);
}
