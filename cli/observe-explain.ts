// observe --explain: under each drop why it was one, by the rules in force now, as ./weir explain tells it.
import { callAgent } from '../agent/api/client.ts';
import { ConfigError, messageOf } from '../agent/errors.ts';
import type { Instance } from '../agent/instance.ts';
import { verdict, type GetFlowsResponse } from '../hubble/types.ts';
import { printable } from './print.ts';

const indent = (text: string): string => printable(text).trimEnd().replaceAll(/^(?=.)/gm, '    ');

/** Nothing for what was let through. */
export async function explanationOf(instance: Instance, { flow }: GetFlowsResponse): Promise<string> {
  if (flow == null || flow.verdict !== verdict.dropped || !flow.uuid) return '';
  try {
    const { text } = await callAgent<{ text: string }>(instance, 'explain', { uuid: flow.uuid });
    return `${indent(text)}\n\n`;
  } catch (error) {
    // A flow that the agent has forgotten meanwhile leaves the others their explanation.
    if (!(error instanceof ConfigError)) throw error;
    return `    ${printable(messageOf(error))}\n\n`;
  }
}
