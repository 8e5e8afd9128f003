// Samples of how long something takes.

const MOST_REPEATS = 10_000
const QUIET = 0.25 // slow-down of the processor up to which samples count
const PATIENCE_MS = 60 // for each sample, after which no quiet moment is waited for any longer

// Milliseconds of a run, `runs` times, each the mean of `repeats` in a row; so many that a sample takes `least`
// milliseconds, 1 where that is 0. Before that it is run `warmup` times and for `warm` milliseconds at least. `run(n)`
// runs it n times in a row; `slows` tells how much slower the processor is than at its best: samples are taken until there
// are enough of quiet moments, and the quietest are given; `now` tells milliseconds.
export async function sample(run, { runs, warmup, warm, least }, slows = () => 0, now = () => performance.now()) {
  const timed = async times => {
    const began = now()
    await run(times)
    return now() - began
  }
  const began = now()
  for (let i = 0; i < warmup || now() - began < warm; i++) await run(1)
  let repeats = 1
  while (least > 0 && repeats < MOST_REPEATS) {
    const took = Math.min(await timed(repeats), await timed(repeats)) // one of them may have been disturbed
    if (took >= least) break
    // Not more than ten times as many at once: short times say little of long ones.
    const wanted = Math.ceil((1.2 * repeats * least) / Math.max(took, 0.01))
    repeats = Math.min(MOST_REPEATS, Math.max(repeats + 1, Math.min(wanted, 10 * repeats)))
  }
  return { ms: await undisturbed(async () => (await timed(repeats)) / repeats, runs, slows, now), repeats }
}

// The `runs` least disturbed of what `take` gives, in the order in which they were taken.
async function undisturbed(take, runs, slows, now) {
  const taken = []
  const began = now()
  let before = slows()
  for (let quiet = 0; quiet < runs && (taken.length < runs || now() - began < PATIENCE_MS * runs); ) {
    const ms = await take()
    const after = slows()
    const disturbed = Math.max(before, after)
    if (disturbed <= QUIET) quiet += 1
    taken.push({ ms, disturbed, place: taken.length })
    before = after
  }
  const least = taken.toSorted((a, b) => a.disturbed - b.disturbed).slice(0, runs)
  return least.sort((a, b) => a.place - b.place).map(({ ms }) => ms)
}
