"""From a trained run and a case to a mask on the native grid, in planned memory."""
