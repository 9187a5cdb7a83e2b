package featurestore;

import java.util.List;
import java.util.TreeSet;
import java.util.function.LongSupplier;

/**
 * Aggregates the events of entities over windows, and writes a row of an entity where its values change.
 *
 * <p>Events become tiles: partial aggregates of an entity and a slide step, which ends at a feature timestamp. A row is
 * written for each change point (see {@link Points}) when the watermark has made it final, computed anew from the
 * tiles. An event that comes after that, but within the allowed lateness, writes the rows again that it changes.
 *
 * <p>One kernel serves all entities; what it knows of one lies in the {@link KernelState} it is given. Inside, times
 * are slide steps: step s ends at the feature timestamp s * slide.
 */
public final class WindowKernel {
    /** Beyond this many microseconds there are no events: the end of the stream. */
    private static final long END = 1L << 60;
    private static final long NEVER = Long.MIN_VALUE / 2;

    private final Spec spec;
    private final Points points;
    private final LongSupplier clock;
    private final KeptSince keptSince;
    private final ValueType[] valueTypes;
    /** The last step that batch writes; NEVER without a batch. */
    private final long cut;

    /**
     * @param clock microseconds since the epoch
     * @param keptSince of the job, as its state says
     */
    public WindowKernel(Spec spec, LongSupplier clock, KeptSince keptSince) {
        this.spec = spec;
        this.clock = clock;
        this.keptSince = keptSince;
        points = new Points(spec);
        valueTypes = spec.valueTypes();
        cut = spec.cut == Long.MIN_VALUE ? NEVER : Math.floorDiv(spec.cut, spec.slide);
    }

    /** The last step whose rows are final at a watermark in milliseconds: no event up to that time is to come. */
    public long finalStep(long watermark) {
        long known = watermark >= END / 1000 ? END : watermark <= -END / 1000 ? -END : (watermark + 1) * 1000;
        return Math.floorDiv(known, spec.slide);
    }

    /**
     * Takes in an event.
     *
     * @param at when it happened, in microseconds
     * @param id what a copy of it would have too; null if it has none
     * @param canonical what simultaneous copies are ordered by
     * @param passes for each condition of the spec whether it is true
     * @param values the spec's input values; null for NULL
     * @param known the final step at the current watermark
     */
    public Verdict onEvent(KernelState state, long at, Text id, byte[] canonical, boolean[] passes, Object[] values,
            long known, Rows out) throws Exception {
        long step = spec.stepOf(at);
        Entity entity = Entity.load(spec, state);
        // A restored job does not know the watermark at first, but the entity remembers what has been written for it.
        long fired = Math.max(known, entity.emitted);
        advance(fired);
        boolean filling = isFilling(fired);
        if (step <= tooLateUntil()) {
            return Verdict.TOO_LATE;
        }
        boolean corrects = !filling && step <= fired;
        long mask = seenBy(passes);
        if (mask == 0 && !spec.eventId) {
            return corrects ? Verdict.CORRECTION : Verdict.ON_TIME;
        }
        clean(values);
        Occurrences.Change change = new Occurrences.Change(true, null);
        if (spec.eventId) {
            Occurrence.Inputs inputs = new Occurrence.Inputs(canonical, passes.clone(), values.clone());
            change = entity.occurrences().add(id, at, inputs);
            if (!change.counts() && change.replaced() == null) {
                entity.save();
                return Verdict.COPY;
            }
        }
        if (entity.timer > fired) {
            entity.emitted = Math.max(entity.emitted, fired);
        }
        TreeSet<Long> changed = new TreeSet<>();
        if (change.counts() && mask != 0) {
            if (filling && !keepsHistory() && step <= horizon(fired)) {
                addToBase(entity, at, mask, passes, values);
            } else {
                entity.tiles().add(step, mask, cell -> add(cell, at, passes, values));
            }
        }
        if (change.replaced() != null) {
            takeOut(entity, change.replaced(), filling ? NEVER : fired, changed);
        }
        if (change.counts() && mask != 0 && corrects) {
            changed.addAll(points.between(entity, step - 1, points.lastOf(step, mask, fired)));
        }
        for (long point : changed) {
            emit(entity, point, out);
        }
        schedule(entity, mask == 0 ? Points.NONE : points.firstOf(step, mask, Math.max(entity.emitted, cut)));
        entity.save();
        return !change.counts() ? Verdict.COPY : corrects ? Verdict.CORRECTION : Verdict.ON_TIME;
    }

    /** Writes the rows that have become final, and sees to the next ones. A call too many does no harm. */
    public void onTimer(KernelState state, long fired, Rows out) throws Exception {
        advance(fired);
        Entity entity = Entity.load(spec, state);
        if (entity.isNew || entity.timer > fired) {
            return;
        }
        long after = Math.max(entity.emitted, cut);
        if (after < fired) {
            for (long step : points.between(entity, after, fired)) {
                emit(entity, step, out);
            }
        }
        entity.emitted = Math.max(entity.emitted, fired);
        entity.timer = Entity.NO_TIMER;
        expire(entity, state, fired);
        schedule(entity, points.next(entity, Math.max(entity.emitted, cut)));
        entity.save();
    }

    /**
     * Whether the past is still being read: events up to the cut come in any order, and none of them is late. It is
     * over for good when the watermark was past the cut once, be it before a restore.
     */
    private boolean isFilling(long fired) {
        return fired <= cut && keptSince.instant() == Long.MIN_VALUE;
    }

    /** Notes from when on events count, now that rows up to a step are final. */
    private void advance(long fired) {
        long instant = fired * spec.slide - spec.lateness;
        if (fired > cut && instant > keptSince.instant()) {
            keptSince.moveTo(instant);
        }
    }

    /** Events of tiles up to this step are too late: beyond the lateness that is or was allowed. */
    private long tooLateUntil() {
        return Math.floorDiv(keptSince.instant(), spec.slide);
    }

    /** Tiles up to this step have left all windows of the rows that can still be written. */
    private long horizon(long fired) {
        if (isFilling(fired)) {
            return keepsHistory() ? NEVER : Math.floorDiv(spec.cut - spec.lateness - spec.longest, spec.slide);
        }
        return Math.floorDiv(fired * spec.slide - spec.lateness - spec.longest, spec.slide);
    }

    /** Whether what came before the cut is kept as tiles up to there, since it can be divided or change still. */
    private boolean keepsHistory() {
        return spec.hasSessions || spec.eventId;
    }

    private long seenBy(boolean[] passes) {
        if (spec.rowPass >= 0 && !passes[spec.rowPass]) {
            return 0;
        }
        long mask = 0;
        for (Spec.Aggregate aggregate : spec.aggregates) {
            if (aggregate.pass < 0 || passes[aggregate.pass]) {
                mask |= 1L << aggregate.windowIndex;
            }
        }
        return mask;
    }

    private void clean(Object[] values) {
        for (int i = 0; i < valueTypes.length; i++) {
            if (valueTypes[i] == ValueType.FLOAT && values[i] != null) {
                values[i] = Partial.finite((Double) values[i]);
            }
        }
    }

    private void addToBase(Entity entity, long at, long mask, boolean[] passes, Object[] values) throws Exception {
        if (spec.hasAllTime) {
            Cell cell = new Cell(spec);
            add(cell, at, passes, values);
            entity.base().fold(cell, mask);
        }
    }

    private void add(Cell cell, long at, boolean[] passes, Object[] values) {
        for (int i = 0; i < spec.measures.length; i++) {
            Spec.Measure measure = spec.measures[i];
            Object value = measure.value() < 0 ? null : values[measure.value()];
            Object weight = measure.weight() < 0 ? null : values[measure.weight()];
            boolean counts = (measure.value() < 0 || value != null) && (measure.weight() < 0 || weight != null);
            if (counts && (measure.pass() < 0 || passes[measure.pass()])) {
                cell.partials[i].add(at, value, weight);
            }
        }
        for (int i = 0; i < spec.sessionPasses.length; i++) {
            if (spec.sessionPasses[i] < 0 || passes[spec.sessionPasses[i]]) {
                cell.see(i, at);
            }
        }
    }

    /**
     * Makes a tile anew without an event that has become a copy; notes the points up to a step whose rows it was in.
     */
    private void takeOut(Entity entity, Occurrence copy, long fired, TreeSet<Long> changed) throws Exception {
        long step = spec.stepOf(copy.at());
        long mask = seenBy(copy.inputs().passes());
        if (mask == 0) {
            return;
        }
        List<Occurrence> left = entity.occurrences().counted(step);
        Cell cell = new Cell(spec);
        long seen = 0;
        for (Occurrence each : left) {
            long seenToo = seenBy(each.inputs().passes());
            if (seenToo != 0) {
                add(cell, each.at(), each.inputs().passes(), each.inputs().values());
                seen |= seenToo;
            }
        }
        entity.tiles().replace(step, seen, seen == 0 ? null : cell);
        if (step <= fired) {
            long last = points.lastOf(step, mask, fired);
            changed.addAll(points.between(entity, step - 1, last));
            changed.addAll(points.of(step, mask, step - 1, last));
        }
    }

    private void emit(Entity entity, long step, Rows out) throws Exception {
        Object[] values = Evaluation.at(spec, entity, step);
        out.row(step * spec.slide, entity.nextCreated(clock.getAsLong()), values);
    }

    private void expire(Entity entity, KernelState state, long fired) throws Exception {
        entity.tiles().expire(horizon(fired), entity.base());
        if (!isFilling(fired)) {
            long late = tooLateUntil();
            entity.occurrences().expire(late);
            long oldest = entity.tiles().isEmpty() ? late : Math.min(late, entity.tiles().firstStep() - 1);
            entity.base().forgetSessions(oldest * spec.slide);
        }
    }

    /** Asks for a timer at the next point, or, when nothing is to come, at the time when all can be forgotten. */
    private void schedule(Entity entity, long next) {
        if (next != Points.NONE && next < entity.timer) {
            entity.registerTimer(next);
        } else if (entity.timer == Entity.NO_TIMER && !(entity.tiles().isEmpty() && entity.occurrences().isEmpty())) {
            Occurrences occurrences = entity.occurrences();
            boolean held = !entity.tiles().isEmpty() || occurrences.isOpen();
            long written = Math.max(entity.emitted, cut);
            long last = Math.max(Math.max(entity.tiles().lastStep(), written), occurrences.newest());
            long from = held ? last : occurrences.newest();
            long microseconds = from * spec.slide + spec.lateness + (held ? spec.longest : spec.deduplicateWithin);
            entity.registerTimer(Math.floorDiv(microseconds, spec.slide) + 3);
        }
    }
}
