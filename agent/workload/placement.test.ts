// Which node of several a pod runs on.
import { expect, test } from '@jest/globals';
import { readManifests } from '../directory/reader.ts';
import { nodeOf } from './placement.ts';
import { derivePods } from './pods.ts';

const nodes = ['node1', 'node2', 'node3'];
const derive = (text: string, node: string) => derivePods(readManifests(text, 'f').objects.map(({ row }) => row), { allowRoot: false, placement: { node, nodes } });
const web = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 6, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: x, command: [run]}]}}}
`;
const pod = (nodeName: string): string => `apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {nodeName: ${nodeName}, containers: [{name: x, command: [run]}]}\n`;

test('each replica runs on one node, and they are spread evenly', () => {
  const found = nodes.map((node) => derive(web, node).pods.map(({ name }) => name));
  expect(found.map((names) => names.length)).toEqual([2, 2, 2]);
  expect(new Set(found.flat()).size).toBe(6);
});

test('a pod that names its node runs there and nowhere else', () => {
  expect(nodes.map((node) => derive(pod('node2'), node).pods.length)).toEqual([0, 1, 0]);
});

test('a Deployment that names its node has all its replicas there', () => {
  expect(nodes.map((node) => derive(web.replace('spec: {containers', 'spec: {nodeName: node3, containers'), node).pods.length)).toEqual([0, 0, 6]);
});

test('a node that does not exist', () => {
  const { pods, problems } = derive(pod('node4'), 'node1');
  expect([pods, problems.map(({ severity, field, message, mend }) => [severity, field, message, mend])]).toEqual([[], [['error', 'spec.nodeName', 'Pod a: there is no node node4', 'this cluster has node1, node2, node3']]]);
});

test('the same name gives the same node, and a hundred names use all', () => {
  const placed = Array.from({ length: 100 }, (_, index) => nodeOf('default', `p${index}`, 0, nodes));
  expect(placed).toEqual(Array.from({ length: 100 }, (_, index) => nodeOf('default', `p${index}`, 0, nodes)));
  expect(nodes.map((node) => placed.filter((one) => one === node).length).every((count) => count > 20)).toBe(true);
});
