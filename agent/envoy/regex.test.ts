// The table of agent/policy/regex.test.ts, put to the real Envoy: it takes what we take, and refuses what we refuse.
import { expect, test } from '@jest/globals';
import { refused, taken } from '../policy/testdata/regex.ts';
import { http1, mapOf, setOf } from './testing-sets.ts';
import { haveEnvoy, lacking, startBench } from './testing.ts';

(haveEnvoy ? test : test.skip)(`Envoy says the same${lacking}`, async () => {
  const bench = await startBench('regex', { timeoutMs: 30_000 });
  try {
    const texts = [...taken, ...refused.map(({ text }) => text)];
    const said = await bench.proxy.serve(mapOf(...texts.map((text) => setOf(text, http1({ host: text })))));
    expect([...said].filter(([, why]) => why.includes('in time'))).toEqual([]);
    expect([...said.keys()].sort()).toEqual(refused.map(({ text }) => text).sort());
  } finally {
    await bench.stop();
  }
});
