// Samples of how long something takes.

const MOST_REPEATS = 10_000

// Milliseconds of a run, `runs` times, each the mean of `repeats` in a row; so many that a sample takes `least`
// milliseconds, 1 where that is 0. Before that it is run `warmup` times and for `warm` milliseconds at least. `run(n)`
// runs it n times in a row; `now` tells milliseconds.
export async function sample(run, { runs, warmup, warm, least }, now = () => performance.now()) {
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
  const ms = []
  for (let i = 0; i < runs; i++) ms.push((await timed(repeats)) / repeats)
  return { ms, repeats }
}
