package featurestore;

import java.util.TreeSet;

/**
 * The change points of an entity, in slide steps: a tile enters at its step and leaves each window that saw it a window
 * later. Sessions count as windows of their gap. One more may stand right after the cut, where history begins.
 */
final class Points {
    static final long NONE = Long.MAX_VALUE;

    private final Spec spec;
    /** Windows in steps, only those that end. */
    private final long[] lengths;
    /** The first step after the cut, if entities get a row there; NONE if not. */
    private final long standing;

    Points(Spec spec) {
        this.spec = spec;
        int ending = spec.windows.length - (spec.hasAllTime ? 1 : 0);
        lengths = new long[ending];
        for (int i = 0; i < ending; i++) {
            lengths[i] = spec.windows[i] / spec.slide;
        }
        standing = spec.standing ? Math.floorDiv(spec.cut, spec.slide) + 1 : NONE;
    }

    /** The first point of a tile after a step. */
    long firstOf(long step, long mask, long after) {
        long first = step > after ? step : NONE;
        for (int i = 0; i < lengths.length; i++) {
            if (seenBy(mask, i) && step + lengths[i] > after) {
                first = Math.min(first, step + lengths[i]);
            }
        }
        if (standing != NONE && standing > after && standsAt(step, mask)) {
            first = Math.min(first, standing);
        }
        return first;
    }

    /** The last step at which a tile of this mask can matter to a row. */
    long lastOf(long step, long mask, long fired) {
        if (spec.hasSessions || spec.hasAllTime && seenBy(mask, lengths.length)) {
            return fired;
        }
        long last = step;
        for (int i = 0; i < lengths.length; i++) {
            last = seenBy(mask, i) ? step + lengths[i] : last;
        }
        return Math.min(last, fired);
    }

    /** The entity's points after one step and up to another, in their order. */
    TreeSet<Long> between(Entity entity, long after, long until) throws Exception {
        TreeSet<Long> found = new TreeSet<>();
        for (Chunk chunk : entity.tiles().chunks()) {
            if (!touches(chunk, after, until)) {
                continue;
            }
            Block tiles = chunk.tiles();
            for (int i = 0; i < tiles.size(); i++) {
                addOf(tiles.step(i), tiles.mask(i), after, until, found);
            }
        }
        if (standing > after && standing <= until && standing != NONE && stands(entity)) {
            found.add(standing);
        }
        return found;
    }

    /** The entity's first point after a step; NONE if nothing will change it any more. */
    long next(Entity entity, long after) throws Exception {
        long next = firstTile(entity, after, -1, 0);
        for (int i = 0; i < lengths.length; i++) {
            next = Math.min(next, firstTile(entity, after - lengths[i], i, lengths[i]));
        }
        return standing != NONE && standing > after && standing < next && stands(entity) ? standing : next;
    }

    private long firstTile(Entity entity, long after, int window, long length) throws Exception {
        for (Chunk chunk : entity.tiles().chunks()) {
            if (chunk.last <= after || window >= 0 && !seenBy(chunk.mask, window)) {
                continue;
            }
            if (window < 0 && chunk.first > after) {
                return chunk.first;
            }
            Block tiles = chunk.tiles();
            for (int i = tiles.indexAfter(after); i < tiles.size(); i++) {
                if (window < 0 || seenBy(tiles.mask(i), window)) {
                    return tiles.step(i) + length;
                }
            }
        }
        return NONE;
    }

    private boolean touches(Chunk chunk, long after, long until) {
        if (chunk.last > after && chunk.first <= until) {
            return true;
        }
        for (int i = 0; i < lengths.length; i++) {
            boolean overlaps = chunk.last > after - lengths[i] && chunk.first <= until - lengths[i];
            if (overlaps && seenBy(chunk.mask, i)) {
                return true;
            }
        }
        return false;
    }

    /** The points of one tile after a step and up to another. */
    TreeSet<Long> of(long step, long mask, long after, long until) {
        TreeSet<Long> found = new TreeSet<>();
        addOf(step, mask, after, until, found);
        return found;
    }

    private void addOf(long step, long mask, long after, long until, TreeSet<Long> found) {
        if (step > after && step <= until) {
            found.add(step);
        }
        for (int i = 0; i < lengths.length; i++) {
            long leaves = step + lengths[i];
            if (leaves > after && leaves <= until && seenBy(mask, i)) {
                found.add(leaves);
            }
        }
    }

    /** Whether a window holds something at the first step after the cut that came before it. */
    private boolean stands(Entity entity) throws Exception {
        if (entity.base().isSeen()) {
            return true;
        }
        for (Chunk chunk : entity.tiles().chunks()) {
            if (chunk.first >= standing || chunk.isEmpty()) {
                continue;
            }
            Block tiles = chunk.tiles();
            for (int i = 0; i < tiles.size(); i++) {
                if (standsAt(tiles.step(i), tiles.mask(i))) {
                    return true;
                }
            }
        }
        return false;
    }

    private boolean standsAt(long step, long mask) {
        if (step >= standing) {
            return false;
        }
        boolean alive = spec.hasAllTime && seenBy(mask, lengths.length);
        for (int i = 0; i < lengths.length; i++) {
            alive |= seenBy(mask, i) && step > standing - lengths[i];
        }
        return alive;
    }

    private static boolean seenBy(long mask, int window) {
        return (mask & 1L << window) != 0;
    }
}
