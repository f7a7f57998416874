"""Credit assignment: from the errors of spikes and spike times to the error of the membrane potential."""
