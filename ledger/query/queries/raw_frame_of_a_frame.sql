-- Which raw file, and which frame of it, is frame 17 of a product? Frames are counted from 0.
SELECT folder, raw_file, first_raw_frame + (17 - first_frame) * step AS raw_frame
FROM frame_run
WHERE frame_id = 'VMPA00000042' AND 17 >= first_frame AND 17 < first_frame + n_frames
