import { assert } from '../error/errors.ts';
import { controlRegion } from '../memory/layout.ts';
import { frameBytesOf, parameterValues } from '../rewrite/frame-code.ts';
import { FRAME_HEADER_BYTES, type FrameLayout, type FunctionPlan, PositionKind } from '../rewrite/function-plan.ts';
import { type Position, positionKey } from '../rewrite/resume-position.ts';
import { type Module, functionType } from '../wasm/module.ts';

const SITE_STRIDE = 2 ** 24;

/** A position with its layout, looked up once and kept. */
export interface KnownPosition extends Position {
  readonly layout: FrameLayout;
}

/**
 * The captured stack, as it lies in the save area.
 *
 * Frames lie upward from the innermost; each ends with its header, so the walk goes downward from the save area's end,
 * outermost frame first. `frames` below are in that order.
 */
export class StackArea {
  readonly #module: Module;
  readonly #plan: FunctionPlan;
  readonly #known = new Map<number, KnownPosition>();
  /** The same by what a header says: site + 2²⁴ × (function × 4 + kind), exact in a double. */
  readonly #bySite = new Map<number, KnownPosition>();

  constructor(module: Module, plan: FunctionPlan) {
    this.#module = module;
    this.#plan = plan;
  }

  /** The layout of frames at a position; undefined when no safepoint is there. */
  positionAt(functionIndex: number, position: number, kind: number): KnownPosition | undefined {
    const key = positionKey({ functionIndex, position, kind });
    let known = this.#known.get(key);
    if (known !== undefined) return known;
    const layout = this.#layout(functionIndex, position, kind);
    if (layout === undefined) return undefined;
    known = { functionIndex, position, kind, layout };
    this.#known.set(key, known);
    return known;
  }

  #positionAtSite(meta: number, site: number): KnownPosition {
    const key = meta * SITE_STRIDE + site;
    let known = this.#bySite.get(key);
    if (known !== undefined) return known;
    const functionIndex = meta >>> 2;
    const kind = meta & 3;
    let position: number | undefined = 0;
    if (functionIndex >= this.#module.importedFunctionCount) {
      if (this.#plan.body.functionIndex !== functionIndex) this.#plan.plan(functionIndex);
      position = this.#plan.layoutOfSite(site, kind)?.position;
    }
    known = position === undefined ? undefined : this.positionAt(functionIndex, position, kind);
    assert(known !== undefined, `a captured frame names function ${functionIndex}, site ${site}, kind ${kind}`);
    this.#bySite.set(key, known);
    return known;
  }

  #layout(functionIndex: number, position: number, kind: number): FrameLayout | undefined {
    if (functionIndex >= this.#module.functionTypes.length) return undefined;
    if (functionIndex < this.#module.importedFunctionCount) {
      if (position !== 0 || kind !== PositionKind.before) return undefined;
      const values = parameterValues(functionType(this.#module, functionIndex).params);
      const localTypes = values.map(({ type }) => type);
      return {
        functionIndex,
        position,
        kind,
        site: 0,
        locals: values.map(({ local }) => local),
        localTypes,
        localOffsets: values.map(({ offset }) => offset),
        stackTypes: [],
        stackOffsets: [],
        bytes: frameBytesOf(localTypes) + FRAME_HEADER_BYTES,
      };
    }
    if (this.#plan.body.functionIndex !== functionIndex) this.#plan.plan(functionIndex);
    return this.#plan.layoutAt(position, kind);
  }

  /** Positions of the captured frames, outermost first, and where each frame starts. */
  walk(memory: Int32Array): { positions: KnownPosition[]; starts: number[] } {
    const positions: KnownPosition[] = [];
    const starts: number[] = [];
    let end = memory[controlRegion.saveAreaPointer >> 2];
    while (end > controlRegion.saveArea) {
      const header = (end - FRAME_HEADER_BYTES) >> 2;
      const known = this.#positionAtSite(memory[header + 1], memory[header]);
      end -= known.layout.bytes;
      positions.push(known);
      starts.push(end);
    }
    assert(end === controlRegion.saveArea, 'the captured frames do not fill the save area exactly');
    return { positions, starts };
  }
}
